"""The serial console and the monitor of a machine that runs elsewhere."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from harness.cli import access
from harness.cli.say import err
from harness.deadline import Deadline
from harness.errors import HarnessError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.cli.running import RunningMachine
    from harness.qemu import Console

_PROMPT_S = 20.0
_PASSWORD_S = 5.0  # a guest in trouble must not delay its console


def attach_monitor(machine: RunningMachine) -> None:
    """Connect a terminal to QEMU's monitor."""
    with _sole(machine, "monitor"):
        err.print(f"QEMU's monitor of {machine.name}; Ctrl-] leaves, `help` helps.")
        _attach(machine.directory / "monitor.log", machine.monitor)


def attach_console(machine: RunningMachine, *, log_in: bool = False) -> None:
    """Connect a terminal to the serial console; `log_in` answers its `login:`."""
    log = machine.directory / "console.log"
    with _sole(machine, "console"):
        password = _password(machine)
        err.print(
            f"The console of {machine.name}; Ctrl-] leaves, Enter shows a prompt."
        )
        if sys.stdin.isatty():
            size = os.get_terminal_size(sys.stdin.fileno())
            err.print(f"Once logged in: stty rows {size.lines} cols {size.columns}")
        if log_in and password:
            _log_in(_console(log, machine.console), password)
        _attach(log, machine.console)


def _password(machine: RunningMachine) -> str:
    """Return root's password, set again if the guest answers, and say it."""
    password = access.known_password(machine.directory)
    try:
        with access.guest_agent(machine, _PASSWORD_S) as guest:
            password = access.set_password(
                guest, machine.directory, timeout=_PASSWORD_S
            )
    except HarnessError as error:
        was = "it may have another than this" if password else "it may have none"
        err.print(f"Root's password was not set, {was}: {error}", markup=False)
    if password:
        err.print(f"Log in as root, password {password}", markup=False)
    return password


def _log_in(console: Console, password: str) -> None:
    """Answer the console until it shows a prompt, for as long as it asks."""
    deadline = Deadline.after(_PROMPT_S, "the console to let root in")
    try:
        mark = console.size
        console.send("\n")
        found = console.wait_for(
            r"(login|[Pp]assword): *$|[#$] *$", deadline, since=mark
        )
        if found[1] == "login":
            mark = console.size
            console.send("root\n")
            console.wait_for(r"[Pp]assword: *$", deadline, since=mark)
            mark = console.size
            console.send(f"{password}\n")
            console.wait_for(r"[#$] *$", deadline, since=mark)
            console.send("\n")
    except HarnessError as error:
        err.print(f"Not logged in: {error}", markup=False)


@contextmanager
def _sole(machine: RunningMachine, what: str) -> Iterator[None]:
    """Hold a socket that QEMU serves to one client. Raises InputError."""
    lock = FileLock(machine.directory / f"{what}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"the {what} of {machine.name} is open in another terminal",
            hint="Ctrl-] leaves it there",
        ) from None
    try:
        yield
    finally:
        lock.release()


def _attach(log: Path, path: Path) -> None:
    _console(log, path).attach(sys.stdin.fileno(), sys.stdout.fileno())


def _console(log: Path, path: Path) -> Console:
    from harness.qemu import Console  # noqa: PLC0415 - see the package's docstring

    return Console(log, path)
