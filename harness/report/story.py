"""The migration in the report: its steps, and what was judged at each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.criteria import StageName

if TYPE_CHECKING:
    from harness.report.model import Results, TestResult


@dataclass(frozen=True, slots=True)
class Chapter:
    """One machine state, and the tests that began there."""

    stage: str
    text: str
    tests: tuple[TestResult, ...]

    @property
    def tally(self) -> str:
        """Count the tests' outcomes."""
        if not self.tests:
            return "no test began here in this run"
        counted = Counter(test.outcome for test in self.tests)
        return ", ".join(f"{n} {outcome}" for outcome, n in sorted(counted.items()))


_TEXTS = {
    StageName.CLOUD: "The cloud image booted with its seed ISO on the temporary"
    " address; the old VM keeps the final one.",
    StageName.NIXOS: "Converted in place, rebooted through its own boot loader:"
    " a self-managed NixOS with its own store.",
    StageName.ONBOARDED: "The host's configuration applied: lab is up with sessions"
    " in it, garbage collection and pull timers run.",
    StageName.SWAPPED: "Moved to the final address; the old VM is off.",
}


def chapters(results: Results) -> list[Chapter]:
    """Return the migration stage by stage, in its order."""
    return [
        Chapter(stage, text, tuple(t for t in results.tests if t.stage == stage))
        for stage, text in _TEXTS.items()
    ]


def headline(results: Results) -> tuple[str, str]:
    """Say in one sentence what a run decided, and with which verdict's colour."""
    deciding = [c for c in results.criteria if c.decides]
    passed = [c for c in deciding if c.verdict == "pass"]
    if deciding and len(passed) == len(deciding):
        return f"All {len(deciding)} required criteria passed.", "pass"
    others = Counter(str(c.verdict) for c in deciding if c not in passed)
    rest = ", ".join(f"{n} {word}" for word, n in sorted(others.items()))
    text = f"{len(passed)} of {len(deciding)} required criteria passed; {rest}."
    worst = next((w for w in ("fail", "broken", "not-run") if w in others), "not-run")
    return text, worst
