"""Signals that end a process in order, and processes that end with their parent."""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1  # prctl(2)


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end; what is open is closed on the way out."""

    def __init__(self, number: int) -> None:
        self.number = signal.Signals(number)
        super().__init__(f"ended by {self.number.name}")


class CommandEnded(SystemExit):
    """A signal asked this command to end; unlike Interrupted, no prompt survives it."""

    def __init__(self, number: int) -> None:
        self.number = signal.Signals(number)
        super().__init__(128 + number)

    def __str__(self) -> str:
        return f"ended by {self.number.name}"


@contextmanager
def interrupting(
    error: Callable[[int], BaseException] = Interrupted,
    numbers: Iterable[signal.Signals] = ENDING,
) -> Iterator[None]:
    """Raise where one of `numbers` arrives, for the length of the `with`.

    Only for the main thread. After the first one SIGTERM and SIGHUP are ignored, so
    that what it began is done to its end; a second Ctrl-C cuts that short. A signal
    that was ignored when this process began (nohup, `&`) stays ignored.
    """
    arrived: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if arrived and number != signal.SIGINT:
            return
        arrived.append(number)
        raise error(number)

    before = {
        number: signal.signal(number, interrupt)
        for number in numbers
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ignoring() -> Iterator[None]:
    """Ignore SIGTERM and SIGHUP, but not Ctrl-C, for the length of the `with`.

    Children inherit that, so it is for work that starts none that last.
    """
    before = {
        number: signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with(parent: int) -> None:
    """Have the kernel kill this process when `parent`, which started it, ends.

    Strictly when the thread ends that started it (prctl(2), PR_SET_PDEATHSIG). A parent
    that is gone already counts.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
