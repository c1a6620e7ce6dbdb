"""Select tests by criterion, scenario and cost instead of by node id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from harness.plugin.markers import Subject


@dataclass(frozen=True, slots=True)
class Selection:
    """What `--criterion`, `--scenario` and `--fastest` ask for; false if nothing."""

    criteria: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    fastest: bool = False

    def __bool__(self) -> bool:
        return bool(self.criteria or self.scenarios or self.fastest)

    def __str__(self) -> str:
        words = [f"--criterion {each}" for each in self.criteria]
        words += [f"--scenario {each}" for each in self.scenarios]
        return " ".join([*words, *(["--fastest"] if self.fastest else [])])

    def includes(self, subject: Subject) -> bool:
        """Whether a test is selected."""
        criteria = set(subject.criteria)
        if self.criteria:
            criteria &= set(self.criteria)
        if self.scenarios and not set(self.scenarios) & set(subject.scenarios):
            return False
        if self.fastest:
            criteria &= set(subject.fastest)
        return bool(criteria)

    def unmatched(self, subjects: Collection[Subject]) -> list[str]:
        """Explain each criterion and each scenario that selects no test."""
        chosen = [subject for subject in subjects if self.includes(subject)]
        judged = {c for subject in chosen for c in subject.criteria}
        exercised = {s for subject in chosen for s in subject.scenarios}
        lacking = [f"--criterion {c}" for c in self.criteria if c not in judged]
        lacking += [f"--scenario {s}" for s in self.scenarios if s not in exercised]
        if not chosen and not lacking:
            lacking = ["--fastest"]
        if not lacking:
            return []
        said = f"`{self}` selects no test for {', '.join(lacking)}; there are:"
        return [said, *self._offers(subjects)]

    def _offers(self, subjects: Collection[Subject]) -> Iterator[str]:
        """List the scenarios of each criterion that is asked for, or of all."""
        known = dict.fromkeys(c for subject in subjects for c in subject.criteria)
        for criterion in self.criteria or known:
            tests = [s for s in subjects if criterion in s.criteria]
            yield f"  {criterion}: {_offer(criterion, tests)}"
        if not (self.criteria or known):
            yield "  no test with a marker `criterion`"


def _offer(criterion: str, tests: Sequence[Subject]) -> str:
    if not tests:
        return "no test"
    names = dict.fromkeys(
        f"{scenario} (fastest)" if criterion in test.fastest else scenario
        for test in tests
        for scenario in test.scenarios or ("(no scenario)",)
    )
    return ", ".join(names)
