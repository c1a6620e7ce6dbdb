"""The rim of the command line: one message for an error, and its exit status."""

from __future__ import annotations

import io
import signal
import sys
import traceback
from typing import TYPE_CHECKING

import typer
from typer._click.exceptions import ClickException  # typer exports only subclasses

from harness import outlets
from harness.cli.say import err, explain
from harness.errors import GuestFailure, HarnessError, InputError
from harness.evidence import redact_text
from harness.exits import Exit, ended_by
from harness.files import keep_details, refused
from harness.signals import CommandEnded, interrupting

if TYPE_CHECKING:
    from collections.abc import Callable


def main(app: Callable[..., object]) -> Exit | int:
    """Run a command line; return its exit status for every way in which it ends."""
    stdout = outlets.install()
    sys.stdin = sys.stdin or io.TextIOWrapper(io.FileIO(0, closefd=False))
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
    return outlets.settle(stdout, ended)


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
