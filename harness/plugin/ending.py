"""How a run ends: its exit status, and the last line, also when it was refused."""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from harness.criteria import Outcome
from harness.exits import Exit, ended_by, verdict_line
from harness.plugin.options import SETTINGS
from harness.report import verdicts

if TYPE_CHECKING:
    from pathlib import Path

    from harness.report import Results

_USAGE, _NO_TESTS = 4, 5  # pytest's own


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a run with a report ended with."""

    word: str
    status: int
    report: Path

    @property
    def line(self) -> str:
        """The last line."""
        return verdict_line(self.word, self.status, self.report)


ENDED = pytest.StashKey[Conclusion]()
ENDED_BY = pytest.StashKey[int]()  # the signal that ended a run
SIGNALS = pytest.StashKey[ExitStack]()  # how they are treated, until the last line


def status_of(
    results: Results,
    pytests: int,
    *,
    signal: int | None = None,
    allow_partial: bool = False,
) -> tuple[str, int]:
    """Give the word and the status of a run with a report.

    `pytests` is what pytest would end with: an error inside it, or a failure of a test
    that is of no suite, counts as well.
    """
    concluded = results.conclusion
    if signal:
        concluded = ended_by(signal)
    elif pytests == pytest.ExitCode.INTERNAL_ERROR:
        concluded = Exit.BROKEN
    elif pytests == pytest.ExitCode.TESTS_FAILED and concluded in _MILD:
        concluded = Exit.FAIL
    passed = any(test.outcome is Outcome.PASSED for test in results.tests)
    if concluded is Exit.UNDECIDED and allow_partial and passed:
        return concluded.word, Exit.PASS
    return concluded.word, concluded


_MILD = {Exit.PASS, Exit.UNDECIDED}


def conclude(config: pytest.Config, status: int | None, message: str = "") -> int:
    """Print an error, then the line that ends a run; return the exit status."""
    if message:
        _say(f"ERROR: {message}", error=True)
    settings = config.stash.get(SETTINGS, None)
    if ended := config.stash.get(ENDED, None):
        verdicts.record(ended.report.parent, ended.line)
        _say(ended.line)
        return ended.status
    ended_with = Exit.ERROR if status == _USAGE else int(status or 0)
    if number := config.stash.get(ENDED_BY, None):
        ended_with = ended_by(number)
    must_judge = bool(config.getoption("--must-judge", default=False))
    if must_judge and ended_with == Exit.PASS:
        _say("nothing was judged: no test of a suite ran")
        ended_with = Exit.UNDECIDED
    judges = settings is None or settings.wants_suites or must_judge
    asked = ended_with != Exit.PASS and judges
    if asked:
        with suppress(ValueError):
            line = verdict_line(Exit(ended_with).word, ended_with)
            if settings is not None:
                verdicts.record(settings.reports, line)
            _say(line)
    return ended_with


def _say(text: str, *, error: bool = False) -> None:
    # A reader that has gone, or a full disk, changes no exit status.
    stream = sys.stderr if error else sys.stdout
    with suppress(OSError, ValueError):
        print(text, file=stream, flush=True)
