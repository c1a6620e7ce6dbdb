"""The markers of a test, read and checked."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import criteria
from harness.criteria import StageName
from harness.fleet import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

    from harness.plugin.places import SuitePlaces

MARKERS = (
    "criterion(*ids): the rows of the register that this test judges",
    "scenario(*names): the event of its criterion that this test exercises",
    "needs(*parts): the parts of the spec without which it cannot judge, as `vms`: two",
    "fastest: of the tests of its criterion the one that detects a fault most cheaply",
    f"stage(name): the machine state it starts from: {', '.join(StageName)}",
    "disruptive: reboots, crashes or rebuilds its machine; never shares one",
    "thorough: takes minutes, decides nothing; run with --thorough or its suite's name",
    "adopted: judges adopted units; run with --adopt-unit, and decides nothing without",
)
_MACHINE_FIXTURES = frozenset({"dev", "machine_factory", "site", "check"})


@dataclass(frozen=True, slots=True)
class Subject:
    """What a test's markers say."""

    nodeid: str
    criteria: tuple[str, ...]
    stage: str | None = None
    scenarios: tuple[str, ...] = ()
    fastest: tuple[str, ...] = ()
    """The criteria for which it is the fastest test."""
    needs: tuple[str, ...] = ()


def subject_of(item: pytest.Item) -> Subject:
    """Read a test's markers; the closest stage counts, criteria and scenarios add up.

    `fastest` without arguments is about all its criteria.
    """
    criteria = _arguments(item, "criterion")
    stage = item.get_closest_marker("stage")
    fastest = item.get_closest_marker("fastest")
    return Subject(
        nodeid=item.nodeid,
        criteria=criteria,
        stage=stage.args[0] if stage and stage.args else None,
        scenarios=_arguments(item, "scenario"),
        fastest=() if fastest is None else fastest.args or criteria,
        needs=_arguments(item, "needs"),
    )


def of_a_suite(item: pytest.Item, suites: SuitePlaces) -> bool:
    """Whether a test judges the subject rather than the instrument."""
    if suites.below(item.path) is not None or item.get_closest_marker("criterion"):
        return True
    return not _MACHINE_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))


def marked_thorough(item: pytest.Item) -> bool:
    """Whether a test is left out of an ordinary run of all suites."""
    return item.get_closest_marker("thorough") is not None


def marked_adopted(item: pytest.Item) -> bool:
    """Whether a test is left out of a run that adopts no units."""
    return item.get_closest_marker("adopted") is not None


def optional(item: pytest.Item) -> bool:
    """Whether a criterion passes without this test."""
    return marked_thorough(item) or marked_adopted(item)


def misuse(items: Iterable[pytest.Item]) -> list[str]:
    """List every marker that says something wrong or leaves out something needed."""
    marked = list(items)
    mistakes = [mistake for item in marked for mistake in _mistakes(item)]
    return mistakes + _contested(subject_of(item) for item in marked)


def _arguments(item: pytest.Item, marker: str) -> tuple[str, ...]:
    names = [name for mark in item.iter_markers(marker) for name in mark.args]
    return tuple(dict.fromkeys(names))


def _contested(subjects: Iterable[Subject]) -> list[str]:
    """List the criteria for which more than one test is marked `fastest`."""
    fastest = defaultdict(list)
    for subject in subjects:
        for criterion in subject.fastest:
            fastest[criterion].append(subject.nodeid)
    return [
        f"{criterion} has {len(tests)} tests marked fastest: {', '.join(tests)}"
        for criterion, tests in fastest.items()
        if len(tests) > 1
    ]


def _mistakes(item: pytest.Item) -> list[str]:
    subject = subject_of(item)
    mistakes = [
        f'{item.nodeid}: criterion("{i}") is no row of the register;'
        " `--list-criteria` prints them"
        for i in criteria.unknown(subject.criteria)
    ]
    if unknown := set(subject.needs) - set(PARTS):
        names, known = ", ".join(sorted(unknown)), ", ".join(PARTS)
        mistakes.append(f"{item.nodeid}: needs {names}, which is none of {known}")
    if foreign := set(subject.fastest) - set(subject.criteria):
        names = ", ".join(sorted(foreign))
        mistakes.append(f"{item.nodeid}: fastest for {names}, which it does not judge")
    if subject.stage is not None and subject.stage not in set(StageName):
        known = ", ".join(StageName)
        mistakes.append(f'{item.nodeid}: stage("{subject.stage}") is none of {known}')
    if subject.stage is None and "dev" in getattr(item, "fixturenames", ()):
        mistakes.append(
            f"{item.nodeid}: it uses `dev` but does not say from which stage;"
            ' add @pytest.mark.stage("onboarded")'
        )
    return mistakes
