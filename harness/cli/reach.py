"""`harness sh`, `console`, `monitor`: reach a machine that runs elsewhere."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import running
from harness.cli.consoles import attach_console, attach_monitor
from harness.cli.session import GuestShell

MachineName = Annotated[
    str | None, typer.Argument(help="needed when several machines run")
]


def sh(
    name: MachineName = None,
    command: Annotated[
        list[str] | None, typer.Argument(help="one command, instead of a prompt")
    ] = None,
) -> None:
    """Open a shell as root in a machine, or run a command there.

    Input, output and exit status are those of ssh; several words are one command, a
    single one is for the guest's shell. Where ssh does not get in, a command takes the
    guest agent, and a prompt the serial console.
    """
    words = tuple(command or ())
    if words[:1] == ("--",):
        words = words[1:]
    raise typer.Exit(GuestShell(running.find(name), words).run())


def console(name: MachineName = None) -> None:
    """Connect to the serial console of a machine; Ctrl-] leaves."""
    attach_console(running.find(name))


def monitor(name: MachineName = None) -> None:
    """Connect to QEMU's monitor; Ctrl-] leaves."""
    attach_monitor(running.find(name))
