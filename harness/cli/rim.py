"""The rim of the command line: one message for an error, and its exit status."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, cast

import typer
from typer._click.exceptions import ClickException  # typer exports only subclasses

from harness.cli.say import err, explain
from harness.errors import GuestFailure, HarnessError, InputError
from harness.evidence import redact_text
from harness.exits import Exit, ended_by
from harness.files import keep_details, reason, refused, reopen
from harness.signals import CommandEnded, interrupting

if TYPE_CHECKING:
    from collections.abc import Callable


class Outlet(io.RawIOBase):
    """A standard stream that a command survives when nothing can be written to it.

    The rest of the output is dropped: what a command does, and the status that it ends
    with, do not depend on who reads it. `error` is what the system said first.
    """

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.error: OSError | None = None

    def writable(self) -> bool:
        """Say that it is an output."""
        return True

    def fileno(self) -> int:
        """Return the descriptor, which children inherit."""
        return self.handle

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self.handle)

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write what can be written; return as if it all was."""
        if self.error is None:
            try:
                return os.write(self.handle, data)
            except OSError as error:
                self.error = error
        return len(data)


def main(app: Callable[..., object]) -> Exit | int:
    """Run a command line; return its exit status, whatever happens in it."""
    stdout = _outlets()
    try:
        with interrupting(CommandEnded, (signal.SIGTERM, signal.SIGHUP)):
            status = app(standalone_mode=False)
        ended = status if isinstance(status, int) else Exit.PASS
    except CommandEnded as end:
        explain(end)
        ended = ended_by(end.number)
    except SystemExit as end:
        # typer ends silently, with 1, on EPIPE: here it is a guest's or QEMU's socket.
        cause = end.__context__
        ended = settle(cause if isinstance(cause, Exception) else RuntimeError(end))
    except Exception as error:  # noqa: BLE001 - the last place that can name it
        ended = settle(error)
    except KeyboardInterrupt:
        ended = Exit.INTERRUPTED
    if ended == Exit.INTERRUPTED:
        err.print("harness: interrupted")
    sys.stdout.flush()
    return _unread(stdout, ended)


def settle(error: Exception) -> int:
    """Print an error as one message; return the exit status that it gives."""
    if isinstance(error, ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, typer.Abort):
        return Exit.INTERRUPTED
    if isinstance(error, ExceptionGroup):
        return max(settle(each) for each in error.exceptions)
    if isinstance(error, OSError) and (known := refused(error)):
        error = known
    if not isinstance(error, (HarnessError, GuestFailure)):
        error = _unexpected(error)
    explain(error)
    if isinstance(error, GuestFailure):
        return Exit.FAIL
    return Exit.ERROR if isinstance(error, InputError) else Exit.BROKEN


def _unexpected(error: Exception) -> HarnessError:
    trace = "".join(traceback.format_exception(error))
    return HarnessError(
        redact_text(f"an error of the harness itself: {type(error).__name__}: {error}"),
        hint=keep_details(redact_text(trace)),
    )


def _outlets() -> Outlet:
    """Make both outputs survive their reader; open what the caller has closed."""
    reopen()
    stdout, stderr = Outlet(1), Outlet(2)
    sys.stdout, sys.stderr = _text(stdout), _text(stderr)
    sys.stdin = sys.stdin or io.TextIOWrapper(io.FileIO(0, closefd=False))
    return stdout


def _text(outlet: Outlet) -> io.TextIOWrapper:
    raw = cast("io.RawIOBase", outlet)  # typeshed wants a name of it
    buffer = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, "utf-8", "backslashreplace", line_buffering=True)


def _unread(stdout: Outlet, ended: int) -> int:
    """Say that output is lost; a reader that has left knows it."""
    lost = stdout.error
    if lost is None or isinstance(lost, BrokenPipeError):
        return ended
    err.print(f"harness: standard output is not complete: {reason(lost)}", markup=False)
    return ended or Exit.ERROR
