"""Machines that run right now, and where to reach them.

A machine is found by its sockets, in run directories that belong to this user alone;
so it does not matter whether `harness up` or a kept test run started it.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from harness.errors import InputError, Mistake
from harness.runtime import runtime_root

if TYPE_CHECKING:
    from pathlib import Path

STATE = "up.json"
_AGENT = "agent.sock"
_SOCKETS_BELOW = ("*/", "*/*/", "*/*/*/")  # run directory, test, machine


@dataclass(frozen=True, slots=True)
class RunningMachine:
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


def announce(running: RunningMachine) -> None:
    """Write what other terminals need to know; in place at once or not at all."""
    facts = {**asdict(running), "directory": str(running.directory)}
    draft = running.directory / f"{STATE}.new"
    draft.write_text(json.dumps(facts) + "\n")
    draft.rename(running.directory / STATE)


def running(base: Path | None = None) -> list[RunningMachine]:
    """List the machines of this user that run now."""
    place = base or runtime_root()
    sockets = {
        path for depth in _SOCKETS_BELOW for path in place.glob(f"{depth}{_AGENT}")
    }
    return sorted(
        (_describe(path.parent) for path in sockets if _listens(path.parent)),
        key=lambda found: (found.name, str(found.directory)),
    )


def _describe(directory: Path) -> RunningMachine:
    try:
        facts = json.loads((directory / STATE).read_text())
        return RunningMachine(
            facts["name"], directory, facts["stage"], int(facts["pid"])
        )
    except (OSError, ValueError, KeyError):
        return RunningMachine(directory.name, directory)


def _listens(directory: Path) -> bool:
    # The console, not the agent: a connection would keep the agent from its owner.
    with socket.socket(socket.AF_UNIX) as wire:
        try:
            wire.connect(str(directory / "console.sock"))
        except OSError:
            return False
    return True


def find(name: str | None, base: Path | None = None) -> RunningMachine:
    """Return the one running machine that is meant. Raises InputError."""
    machines = running(base)
    meant = [m for m in machines if name in (None, m.name, str(m.directory))]
    if len(meant) == 1:
        return meant[0]
    if not machines:
        raise InputError("no machine runs", hint="start one with `harness up dev`")
    mistakes = [Mistake("running", m.name, str(m.directory), m.stage) for m in machines]
    what = "several machines run" if meant else f"no machine {name} runs"
    raise InputError(what, mistakes, hint="name one, or its directory")
