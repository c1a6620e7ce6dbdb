"""`harness sh`, `console`, `monitor`: reach a machine that runs elsewhere."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import running
from harness.cli.say import err
from harness.deadline import Deadline

if TYPE_CHECKING:
    from pathlib import Path

    from harness.guest.agent import AgentTransport
    from harness.guest.transport import CommandResult

MachineName = Annotated[
    str | None, typer.Argument(help="needed when several machines run")
]
_COMMAND_S = 24 * 3600.0
_ANSWER_S = 30.0

# Runs one line where the last one left off; what follows the NUL is where that is.
_LINE = """\
cd "$1" 2>/dev/null
eval "$2"
status=$?
printf '\\0%s' "$PWD"
exit $status
"""


def sh(
    name: MachineName = None,
    command: Annotated[
        list[str] | None, typer.Argument(help="one command, instead of a prompt")
    ] = None,
) -> None:
    """Run commands as root in a machine, over its guest agent.

    It has no terminal of its own: for editors and logins there is `harness console`.
    """
    from harness.guest.agent import AgentTransport  # noqa: PLC0415 - see the package

    machine = running.find(name)
    transport = AgentTransport(machine.agent)
    try:
        transport.ping(Deadline.after(_ANSWER_S, "the guest agent to answer"))
        if command:
            raise typer.Exit(_show(_execute(transport, command)))
        err.print("Line by line, without a terminal; Ctrl-D leaves.")
        _prompt(transport, machine.name)
    finally:
        transport.close()


def console(name: MachineName = None) -> None:
    """Connect to the serial console of a machine; Ctrl-] leaves."""
    machine = running.find(name)
    err.print(f"The console of {machine.name}; Ctrl-] leaves, Enter shows a prompt.")
    _attach(machine.directory / "console.log", machine.console)


def monitor(name: MachineName = None) -> None:
    """Connect to QEMU's monitor; Ctrl-] leaves."""
    machine = running.find(name)
    err.print(f"QEMU's monitor of {machine.name}; Ctrl-] leaves, `help` helps.")
    _attach(machine.directory / "monitor.log", machine.monitor)


def _attach(log: Path, path: Path) -> None:
    from harness.qemu import Console  # noqa: PLC0415 - see the package's docstring

    Console(log, path).attach(sys.stdin.fileno(), sys.stdout.fileno())


def _prompt(transport: AgentTransport, name: str) -> None:
    """Read lines until the end of input; each starts where the last one ended."""
    here = "/root"
    while (line := _read(f"{name}:{here}# ")) is not None:
        if line.strip() in {"exit", "logout"}:
            return
        try:
            here = run_line(transport, line, here)
        except KeyboardInterrupt:
            transport.close()
            err.print("\nLeft alone: the command may still run in the guest.")


def run_line(transport: AgentTransport, line: str, here: str) -> str:
    """Run a line in the directory `here`, show it, return where it ended."""
    if not line.strip():
        return here
    result = _execute(transport, ["sh", "-c", _LINE, "sh", here, line])
    output, marker, there = result.stdout.rpartition("\0")
    sys.stdout.write(output if marker else result.stdout)
    sys.stdout.flush()
    sys.stderr.write(result.stderr)
    if result.rc:
        err.print(f"(exit status {result.rc})")
    return there if marker else here


def _read(prompt: str) -> str | None:
    try:
        return input(prompt)
    except EOFError:
        return None
    except KeyboardInterrupt:
        print(file=sys.stderr)  # noqa: T201 - ends the line that was abandoned
        return ""


def _execute(transport: AgentTransport, argv: list[str]) -> CommandResult:
    deadline = Deadline.after(_COMMAND_S, shlex.join(argv)[:60])
    return transport.execute(argv, deadline=deadline)


def _show(result: CommandResult) -> int:
    sys.stdout.write(result.stdout)
    sys.stderr.write(result.stderr)
    return result.rc
