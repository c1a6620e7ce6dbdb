"""Exit statuses, and the line that ends a run."""

from __future__ import annotations

import signal
from pathlib import Path

from harness.exits import MEANINGS, Exit, ended_by, verdict_line


def test_statuses_are_the_public_ones() -> None:
    """They are distinct, documented, and never pytest's own 4."""
    told = {int(each): each.word for each in Exit}
    assert told == {
        0: "pass",
        1: "fail",
        2: "error",
        3: "broken",
        5: "undecided",
        129: "interrupted",
        130: "interrupted",
        143: "interrupted",
    }
    assert set(MEANINGS) == set(Exit)


def test_a_signal_gives_its_own_status() -> None:
    """As a shell gives it: 128 and the signal's number."""
    assert ended_by(signal.SIGTERM) is Exit.TERMINATED


def test_the_line_ends_with_the_path() -> None:
    """A path may have blanks, so nothing comes after it."""
    line = verdict_line("fail", Exit.FAIL, Path("/a b/c"))
    assert line == "verdict: fail status=1 report=/a b/c"
    assert verdict_line("error", 2) == "verdict: error status=2"
