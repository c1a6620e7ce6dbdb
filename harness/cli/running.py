"""Machines that run right now, and where to reach them.

A machine is found by its sockets, in run directories that belong to this user alone;
so it does not matter whether `harness up` or a kept test run started it.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from harness.errors import InputError, Mistake
from harness.runtime import runtime_root
from harness.testbed.announce import STATE

if TYPE_CHECKING:
    from pathlib import Path

_AGENT = "agent.sock"
START = "start one in another terminal: `harness up dev`"
_SOCKETS_BELOW = ("*/", "*/*/", "*/*/*/")  # run directory, test, machine


@dataclass(frozen=True, slots=True)
class RunningMachine:
    """One machine that runs, by its directory.

    `client` is the prefix of a command that runs on the LAN client of its site.
    """

    name: str
    directory: Path
    stage: str = ""
    pid: int = 0
    ip: IPv4Address | None = None
    lab_port: int = 0
    client: tuple[str, ...] = ()

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
            name=facts["name"],
            directory=directory,
            stage=facts["stage"],
            pid=int(facts["pid"]),
            ip=IPv4Address(facts["ip"]),
            lab_port=int(facts["lab_port"]),
            client=tuple(facts["client"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return RunningMachine(directory.name, directory)


def _listens(directory: Path) -> bool:
    # The console, not the agent: a connection would keep the agent from its owner. It
    # must not wait: QEMU takes one client, and what we close stays in its short queue
    # until that client has left.
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(0)
        try:
            wire.connect(str(directory / "console.sock"))
        except BlockingIOError:
            return True
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
        raise InputError("no machine runs", hint=START)
    what = "several machines run" if meant else f"no machine {name!r} runs"
    hint = f"name one, or its directory, as in `harness sh {machines[0].name} COMMAND`"
    raise InputError(what, _listed(machines), hint=hint)


def find_site(name: str | None, base: Path | None = None) -> RunningMachine:
    """Return a running machine whose LAN client can be entered. Raises InputError.

    Without a name it is any machine of the only site that runs.
    """
    machines = running(base)
    meant = [m for m in machines if name in (None, m.name, str(m.directory))]
    one = len({m.client for m in meant}) == 1
    chosen = meant[0] if one else find(name, base)
    if not chosen.client:
        raise InputError(
            f"the network of {chosen.name} is not known",
            _listed([chosen]),
            hint="its run has just begun, or is of another version of the harness",
        )
    return chosen


def _listed(machines: list[RunningMachine]) -> list[Mistake]:
    return [Mistake("running", m.name, str(m.directory), m.stage) for m in machines]
