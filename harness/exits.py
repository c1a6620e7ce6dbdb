"""The exit statuses of every run and command, and the line that ends a run."""

from __future__ import annotations

import signal
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Exit(IntEnum):
    """What an exit status says; 4 is pytest's own, for an option it does not know."""

    PASS = 0  # everything that was asked passes
    FAIL = 1  # a verdict or a ruling is negative
    ERROR = 2  # the input, the usage or the computer is wrong: one message
    BROKEN = 3  # the instrument could not judge
    UNDECIDED = 5  # nothing that ran failed, but not all that was asked is decided
    HUNG_UP = 128 + signal.SIGHUP
    INTERRUPTED = 128 + signal.SIGINT
    TERMINATED = 128 + signal.SIGTERM

    @property
    def word(self) -> str:
        """The word that a verdict line has for it."""
        ended = {Exit.HUNG_UP, Exit.INTERRUPTED, Exit.TERMINATED}
        return "interrupted" if self in ended else self.name.lower()


MEANINGS: dict[Exit, str] = {
    Exit.PASS: "everything that was asked passes",
    Exit.FAIL: "a verdict or a ruling is negative",
    Exit.ERROR: "an error in the input, the usage or the computer; one message says it",
    Exit.BROKEN: "the instrument could not judge; says nothing about the VM",
    Exit.UNDECIDED: "nothing that ran failed, but not all that was asked is decided:"
    " a criterion is `partial` or `not-run`, or no test ran",
    Exit.HUNG_UP: "ended by SIGHUP",
    Exit.INTERRUPTED: "ended by Ctrl-C (SIGINT)",
    Exit.TERMINATED: "ended by SIGTERM",
}


def ended_by(number: int) -> Exit:
    """Give the exit status of a run that a signal ended."""
    return Exit(128 + number)


def verdict_line(word: str, status: int, report: Path | None = None) -> str:
    """Return the last line of a run; the path is last, for it may contain blanks."""
    where = "" if report is None else f" report={report}"
    return f"verdict: {word} status={int(status)}{where}"
