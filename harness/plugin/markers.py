"""Markers, and what they say about a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import criteria

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pytest

MARKERS = (
    "criterion(*ids): the rows of the register that this test judges",
    "stage(name): the machine state it starts from: cloud, nixos, onboarded, swapped",
    "disruptive: reboots, crashes or rebuilds its machine; never shares one",
    "thorough: takes minutes; run with --thorough, or when its suite is named",
)
STAGES = ("cloud", "nixos", "onboarded", "swapped")
_MACHINE_FIXTURES = frozenset({"dev", "machine_factory", "site", "check"})


@dataclass(frozen=True, slots=True)
class Subject:
    """What a test's markers say."""

    criteria: tuple[str, ...]
    stage: str | None


def subject_of(item: pytest.Item) -> Subject:
    """Read a test's markers; the closest stage counts, criteria add up."""
    ids = [i for mark in item.iter_markers("criterion") for i in mark.args]
    stage = item.get_closest_marker("stage")
    name = stage.args[0] if stage and stage.args else None
    return Subject(tuple(dict.fromkeys(ids)), name)


def of_a_suite(item: pytest.Item, suites: Path) -> bool:
    """Whether a test judges the subject rather than the instrument."""
    if item.path.is_relative_to(suites) or item.get_closest_marker("criterion"):
        return True
    return not _MACHINE_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))


def marked_thorough(item: pytest.Item) -> bool:
    """Whether a test is left out of an ordinary run of all suites."""
    return item.get_closest_marker("thorough") is not None


def misuse(items: Iterable[pytest.Item]) -> list[str]:
    """List every marker that says something wrong or leaves out something needed."""
    return [mistake for item in items for mistake in _mistakes(item)]


def _mistakes(item: pytest.Item) -> list[str]:
    subject = subject_of(item)
    mistakes = [
        f'{item.nodeid}: criterion("{i}") is no row of the register;'
        " `--list-criteria` prints them"
        for i in criteria.unknown(subject.criteria)
    ]
    if subject.stage is not None and subject.stage not in STAGES:
        known = ", ".join(STAGES)
        mistakes.append(f'{item.nodeid}: stage("{subject.stage}") is none of {known}')
    if subject.stage is None and "dev" in getattr(item, "fixturenames", ()):
        mistakes.append(
            f"{item.nodeid}: it uses `dev` but does not say from which stage;"
            ' add @pytest.mark.stage("onboarded")'
        )
    return mistakes
