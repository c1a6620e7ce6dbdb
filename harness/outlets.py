"""The standard outputs, which may be closed, full, or left by their reader.

What a command or a run does, and the status that it ends with, do not depend on who
reads its output; only what is lost on a full disk is said, and is never a success.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import cast

from harness.exits import Exit
from harness.files import reason


class Outlet(io.RawIOBase):
    """A stream that its writer survives when nothing can be written to it.

    The rest of the output is dropped. `error` is what the system said first.
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

    def text(self) -> io.TextIOWrapper:
        """Wrap it for text."""
        raw = cast("io.RawIOBase", self)  # typeshed wants a name of it
        buffer = io.BufferedWriter(raw)
        return io.TextIOWrapper(
            buffer, "utf-8", "backslashreplace", line_buffering=True
        )


def reopen() -> None:
    """Open /dev/null for each standard descriptor that the caller has closed.

    Else the next file that is opened would take its number, and be written into.
    """
    for handle in (0, 1, 2):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def install() -> Outlet:
    """Make both outputs survive their reader; return that of stdout."""
    reopen()
    stdout, stderr = Outlet(1), Outlet(2)
    sys.stdout, sys.stderr = stdout.text(), stderr.text()
    return stdout


def settle(stdout: Outlet, status: int) -> int:
    """Say that output was lost, and return the exit status that this leaves.

    A reader that has left knows it. A status that is not 0 stays.
    """
    with suppress(ValueError):  # a file that something else has closed
        sys.stdout.flush()
    lost = stdout.error
    if lost is None or isinstance(lost, BrokenPipeError):
        return status
    sys.stderr.write(f"harness: standard output is not complete: {reason(lost)}\n")
    return status or Exit.ERROR
