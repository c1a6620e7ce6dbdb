"""Machines that run right now, and where to reach them.

A machine is found by its sockets, in run directories that belong to this user alone;
so it does not matter whether `harness up` or a kept test run started it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from harness.errors import Fault, HostError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

STATE = "up.json"
_LOCK = "lock"
_AGENT = "agent.sock"
_SOCKETS_BELOW = ("*/", "*/*/", "*/*/*/")  # run directory, test, machine


@dataclass(frozen=True, slots=True)
class Running:
    """One machine that runs, by its directory."""

    name: str
    directory: Path
    stage: str = ""
    pid: int = 0

    @property
    def agent(self) -> Path:
        """The guest agent's socket."""
        return self.directory / _AGENT

    @property
    def console(self) -> Path:
        """The serial console's socket."""
        return self.directory / "console.sock"

    @property
    def monitor(self) -> Path:
        """The socket of QEMU's human monitor."""
        return self.directory / "monitor.sock"


def root() -> Path:
    """Return the place of all run directories of this user; mode 0700 or HostError."""
    # On disk, since /tmp may be memory; short, since a socket's path has 107 bytes.
    path = Path("/var/tmp") / f"vma-{os.geteuid()}"  # noqa: S108 - checked below
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if path.is_symlink() or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise HostError(
            f"{path} is not this user's own directory with mode 0700",
            hint=f"remove it, or make it so: chmod 700 {path}",
        )
    return path


@contextmanager
def run_directory(base: Path | None = None) -> Iterator[Path]:
    """Hold a private directory, after sweeping those whose process is gone.

    A process that is killed leaves its directory, but not the lock on it.
    """
    place = base or root()
    with FileLock(place / _LOCK):
        for left in place.iterdir():
            _sweep(left)
        directory = place / secrets.token_hex(3)
        directory.mkdir(mode=0o700)
        alive = FileLock(directory / _LOCK)
        alive.acquire()
    try:
        yield directory
    finally:
        alive.release()
        shutil.rmtree(directory, ignore_errors=True)


def _sweep(directory: Path) -> None:
    if directory.is_dir():
        with suppress(Timeout), FileLock(directory / _LOCK, timeout=0):
            shutil.rmtree(directory, ignore_errors=True)


def announce(running: Running) -> None:
    """Write what other terminals need to know; in place at once or not at all."""
    facts = {**asdict(running), "directory": str(running.directory)}
    draft = running.directory / f"{STATE}.new"
    draft.write_text(json.dumps(facts) + "\n")
    draft.rename(running.directory / STATE)


def running(base: Path | None = None) -> list[Running]:
    """List the machines of this user that run now."""
    place = base or root()
    sockets = {
        path for depth in _SOCKETS_BELOW for path in place.glob(f"{depth}{_AGENT}")
    }
    return sorted(
        (_describe(path.parent) for path in sockets if _listens(path.parent)),
        key=lambda found: (found.name, str(found.directory)),
    )


def _describe(directory: Path) -> Running:
    try:
        facts = json.loads((directory / STATE).read_text())
        return Running(facts["name"], directory, facts["stage"], int(facts["pid"]))
    except (OSError, ValueError, KeyError):
        return Running(directory.name, directory)


def _listens(directory: Path) -> bool:
    # The console, not the agent: a connection would keep the agent from its owner.
    with socket.socket(socket.AF_UNIX) as wire:
        try:
            wire.connect(str(directory / "console.sock"))
        except OSError:
            return False
    return True


def find(name: str | None, base: Path | None = None) -> Running:
    """Return the one running machine that is meant. Raises InputError."""
    machines = running(base)
    meant = [m for m in machines if name in (None, m.name, str(m.directory))]
    if len(meant) == 1:
        return meant[0]
    if not machines:
        raise InputError("no machine runs", hint="start one with `harness up dev`")
    faults = [Fault("running", m.name, str(m.directory), m.stage) for m in machines]
    what = "several machines run" if meant else f"no machine {name} runs"
    raise InputError(what, faults, hint="name one, or its directory")
