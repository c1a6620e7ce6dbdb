"""A terminal with a program on it, as a person has it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness import process
from tests.waiting import patient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]


class Screen:
    """The terminal; what it shows is kept in `shown` until it is waited for."""

    def __init__(self, controller: int) -> None:
        self.controller = controller
        self.shown = ""

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.controller, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the window."""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.controller, termios.TIOCSWINSZ, size)

    def wait_for(self, text: str) -> str:
        """Read until the text is shown; return all up to there, and forget it."""
        deadline = patient(30, f"{text!r} on the terminal")
        while text not in self.shown:
            if not self._read(0.2) and deadline.expired:
                raise deadline.error(self.shown)
        before, _, self.shown = self.shown.partition(text)
        return before

    def rest(self) -> str:
        """Return what is shown and was not waited for."""
        while self._read(0.2):
            pass
        return self.shown

    def _read(self, seconds: float) -> bool:
        readable, _, _ = select.select([self.controller], [], [], seconds)
        if readable:
            self.shown += os.read(self.controller, 4096).decode(errors="replace")
        return bool(readable)


@contextmanager
def on_terminal(
    argv: Sequence[str], rows: int = 24, columns: int = 80
) -> Iterator[tuple[Screen, process.Popen[bytes]]]:
    """Run a program on a terminal of its own for the length of the `with`."""
    controller, terminal = pty.openpty()
    env = {**os.environ, "TERM": "dumb"}
    with (
        os.fdopen(controller, "r+b", buffering=0),
        os.fdopen(terminal, "r+b", buffering=0) as wire,
    ):
        screen = Screen(controller)
        screen.resize(rows, columns)
        with process.spawn(
            ["setsid", "--ctty", *argv],
            stdin=wire,
            stdout=wire,
            stderr=wire,
            env=env,
            cwd=ROOT,
        ) as child:
            yield screen, child
