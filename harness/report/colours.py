"""One colour for each outcome and verdict, on the terminal and on the page."""

from __future__ import annotations

from enum import StrEnum
from itertools import groupby

from harness.criteria import ControlVerdict, Outcome, Verdict

COLLATERAL = "collateral"
"""A criterion that failed under a fault which does not expect it."""
ELSEWHERE = "elsewhere"
"""An expected criterion that failed, but not in a check that the fault explains."""


class Tone(StrEnum):
    """What a colour says; the value is the page's CSS variable for it."""

    GOOD = "pass"
    BAD = "fail"
    BROKEN = "broken"
    WARNING = "skipped"
    NOTHING = "not-run"


_TONES: dict[str, Tone] = {
    Verdict.PASS: Tone.GOOD,
    Outcome.PASSED: Tone.GOOD,
    ControlVerdict.CAUGHT: Tone.GOOD,
    ControlVerdict.QUIET: Tone.GOOD,
    Verdict.FAIL: Tone.BAD,
    Outcome.FAILED: Tone.BAD,
    ControlVerdict.MISSED: Tone.BAD,
    ControlVerdict.NOISY: Tone.BAD,
    Verdict.BROKEN: Tone.BROKEN,
    Outcome.BROKEN: Tone.BROKEN,
    ControlVerdict.BROKEN: Tone.BROKEN,
    Verdict.PARTIAL: Tone.WARNING,
    Outcome.SKIPPED: Tone.WARNING,
    COLLATERAL: Tone.WARNING,
    ELSEWHERE: Tone.WARNING,
    Verdict.NOT_RUN: Tone.NOTHING,
    Outcome.DESELECTED: Tone.NOTHING,
    Outcome.UNRUN: Tone.NOTHING,
}
_STYLES = {
    Tone.GOOD: "green",
    Tone.BAD: "bold red",
    Tone.BROKEN: "bold magenta",
    Tone.WARNING: "yellow",
    Tone.NOTHING: "dim",
}


def style(word: Verdict | Outcome | ControlVerdict) -> str:
    """Return rich's style for an outcome or a verdict."""
    return _STYLES[_TONES[word]]


def css() -> str:
    """Return the rules that colour each word's class by the page's variables."""
    return "\n".join(
        f"{', '.join(f'.{word}' for word, _ in words)} {{ color: var(--{tone}); }}"
        for tone, words in groupby(_TONES.items(), key=lambda item: item[1])
    )
