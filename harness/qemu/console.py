"""The serial console: everything it ever printed, and a way to type into it.

QEMU itself writes the log, from the first byte and with or without a client; so reading
it needs no thread here, and no byte is lost.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import socket
import struct
import termios
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.deadline import Deadline, poll
from harness.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Ctrl-], as telnet has it: ends an interactive session.
ESCAPE = b"\x1d"
# Colours and cursor movements of a terminal, which only get in the way of a reader.
_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]"  # colours, cursor
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, palette
    r"|\x1b[@-Z\\-_]|\r|\x00"
)
_TYPING_S = 20.0
PANIC = re.compile(r"Kernel panic - not syncing: .*|---\[ end Kernel panic.*")


class Console:
    """The serial console of one machine, over all its runs."""

    def __init__(self, log: Path, path: Path) -> None:
        self._log = log
        self._path = path
        self._alive: Callable[[], None] = lambda: None

    def watch(self, alive: Callable[[], None]) -> None:
        """Ask `alive` while waiting; it raises when the machine has no future."""
        self._alive = alive

    @property
    def text(self) -> str:
        """All that was printed, without terminal control sequences."""
        return self.since(0)

    @property
    def size(self) -> int:
        """How many bytes were printed so far; a mark to wait from."""
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0

    def since(self, mark: int) -> str:
        """Return what was printed after `mark` (an earlier `size`)."""
        try:
            with self._log.open("rb") as log:
                log.seek(mark)
                return _CONTROL.sub("", log.read().decode(errors="replace"))
        except FileNotFoundError:
            return ""

    def tail(self, count: int = 20) -> list[str]:
        """Return the last non-empty lines: the evidence of most failures."""
        recent = self.since(max(0, self.size - 64 * 1024))
        return [line for line in recent.splitlines() if line.strip()][-count:]

    def wait_for(
        self, pattern: str, deadline: Deadline, *, since: int = 0
    ) -> re.Match[str]:
        """Wait for text that matches, printed after the mark `since`.

        Raises DeadlineExpired with the last lines, or what the watcher raises.
        """
        wanted = re.compile(pattern)

        def look() -> re.Match[str] | None:
            found = wanted.search(self.since(since))
            if found is None:
                self._alive()
            return found

        return poll(look, deadline, interval=0.1, seen=lambda: self._last(since))

    def _last(self, mark: int) -> str:
        lines = [x for x in self.since(mark).splitlines() if x.strip()]
        return lines[-1] if lines else "the console printed nothing"

    def send(self, text: str) -> None:
        """Type text; a line needs its own newline.

        Raises MachineError when QEMU does not listen, DeadlineExpired when the serial
        port takes no more.
        """
        deadline = Deadline.after(_TYPING_S, "the guest's serial port to take input")
        with self._connected() as wire:
            wire.settimeout(_TYPING_S)
            wire.sendall(text.encode())
            # QEMU hands the port a few bytes at a time and forgets the rest of them
            # when we hang up.
            poll(lambda: True if not _unread(wire) else None, deadline, interval=0.01)

    def attach(self, stdin: int, stdout: int) -> None:
        """Connect a terminal until Ctrl-] is typed, input ends or QEMU does.

        `stdin` and `stdout` are file descriptors; a terminal is made raw meanwhile.
        """
        with self._connected() as wire, _raw(stdin):
            for data in _typed(stdin, stdout, wire):
                wire.sendall(data)

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX) as wire:
            try:
                wire.connect(str(self._path))
            except OSError as error:
                raise MachineError(
                    "the console takes no input", seen=f"{self._path}: {error}"
                ) from error
            yield wire


def _unread(wire: socket.socket) -> int:
    """Return how many bytes the other end has not read yet (never below the truth)."""
    return int(struct.unpack("i", fcntl.ioctl(wire, termios.TIOCOUTQ, b"\0" * 4))[0])


def _typed(stdin: int, stdout: int, wire: socket.socket) -> Iterator[bytes]:
    """Yield what is typed up to the escape key, and copy the console out meanwhile."""
    while True:
        ready, _, _ = select.select([stdin, wire.fileno()], [], [])
        if wire.fileno() in ready:
            try:
                data = wire.recv(65536)
            except ConnectionResetError:  # QEMU was killed with input unread
                return
            if not data:
                return
            os.write(stdout, data)
        if stdin in ready:
            data = os.read(stdin, 4096)
            before, escape, _ = data.partition(ESCAPE)
            if before:
                yield before
            if escape or not data:
                return


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """Put a terminal into raw mode and back; anything else is left alone."""
    if not os.isatty(descriptor):
        yield
        return
    saved = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, saved)
