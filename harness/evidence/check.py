"""A check: what was expected, what was seen, and the relation that decides.

A check is data. Whether it held follows from its own facts, so a report cannot say one
thing and show another, and a kept report can be judged again with other budgets.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeGuard

from harness.facts import (
    INFINITE,
    SHARE,
    Limit,
    Plain,
    Quantity,
    describe,
    plain,
    with_unit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Relation(StrEnum):
    """How what was seen has to stand to what was expected."""

    EQUALS = "equals"
    DIFFERS = "differs"
    AT_MOST = "at-most"
    AT_LEAST = "at-least"
    CONTAINS = "contains"  # a text contains texts, a list items, a mapping keys
    LACKS = "lacks"  # none of them
    ONE_OF = "one-of"
    ONLY = "only"  # a list has no items but these
    STARTS = "starts"
    PRESENT = "present"  # neither none nor empty
    ABSENT = "absent"  # none, or empty


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a check expects; `budget` names the entry of [budgets] that `value` is."""

    relation: Relation
    value: Plain = None
    unit: str = ""
    budget: str = ""

    def holds(self, seen: Plain) -> bool:
        """Decide, from plain values alone."""
        return _DECIDES[self.relation](seen, self.value)

    def __str__(self) -> str:
        words = describe(self.value, self.unit)
        match self.relation:
            case Relation.EQUALS:
                return words
            case Relation.PRESENT:
                return "present"
            case Relation.ABSENT:
                return "none"
            case _:
                budget = f" (budget {self.budget})" if self.budget else ""
                return f"{_WORDS[self.relation]} {words}{budget}"


_WORDS = {
    Relation.DIFFERS: "other than",
    Relation.AT_MOST: "at most",
    Relation.AT_LEAST: "at least",
    Relation.CONTAINS: "containing",
    Relation.LACKS: "without",
    Relation.ONE_OF: "one of",
    Relation.ONLY: "only",
    Relation.STARTS: "beginning with",
}


def at_most(limit: float | Quantity) -> Expectation:
    """Expect a number up to `limit`, a budget of the spec or a quantity."""
    return _bound(Relation.AT_MOST, limit)


def at_least(limit: float | Quantity) -> Expectation:
    """Expect a number from `limit` on, a budget of the spec or a quantity."""
    return _bound(Relation.AT_LEAST, limit)


def differs_from(value: object) -> Expectation:
    """Expect another value than this one."""
    return Expectation(Relation.DIFFERS, plain(value))


def contains(*values: object) -> Expectation:
    """Expect a text with all these texts, or a list or mapping with all these."""
    return Expectation(Relation.CONTAINS, plain(values))


def lacks(*values: object) -> Expectation:
    """Expect a text, list or mapping with none of these."""
    return Expectation(Relation.LACKS, plain(values))


def one_of(*values: object) -> Expectation:
    """Expect one of these values."""
    return Expectation(Relation.ONE_OF, plain(values))


def only(*values: object) -> Expectation:
    """Expect a list in which nothing occurs but these values; it may be empty."""
    return Expectation(Relation.ONLY, plain(values))


def starts_with(prefix: str) -> Expectation:
    """Expect a text that begins so."""
    return Expectation(Relation.STARTS, prefix)


def present() -> Expectation:
    """Expect something: neither none nor an empty text, list or mapping."""
    return Expectation(Relation.PRESENT)


def absent() -> Expectation:
    """Expect none, or an empty text, list or mapping."""
    return Expectation(Relation.ABSENT)


@dataclass(frozen=True, init=False)
class Check:
    """One named fact about the subject, with what decides whether it holds.

    `name` states the fact. `seen` is compared with `expected`: an `Expectation`, or any
    value, which has to be equal. `of` says what the two are ("boot ID", "exit status"),
    `during` at which event; further facts that help a reader come by keyword. All are
    stored in their plain form (`harness.facts.plain`), which alone decides. Raises
    TypeError for a value that has no plain form.
    """

    name: str
    seen: Plain
    expected: Expectation
    of: str = ""
    during: str = ""
    unit: str = ""
    facts: Mapping[str, Plain] = field(default_factory=dict)

    def __init__(
        self,
        name: str,
        seen: object,
        expected: object,
        *,
        of: str = "",
        during: str = "",
        **facts: object,
    ) -> None:
        expectation = (
            expected
            if isinstance(expected, Expectation)
            else Expectation(Relation.EQUALS, _value(expected), _unit(expected))
        )
        values = {
            "name": name,
            "seen": _value(seen),
            "expected": expectation,
            "of": of,
            "during": during,
            "unit": _unit(seen) or expectation.unit,
            "facts": {
                key.replace("_", " "): plain(fact) for key, fact in facts.items()
            },
        }
        for key, value in values.items():
            object.__setattr__(self, key, value)

    @property
    def held(self) -> bool:
        """Whether what was seen stands to what was expected as it has to."""
        return self.expected.holds(self.seen)

    @property
    def expectation(self) -> str:
        """Say what was expected, whether or not it was seen."""
        return self._labelled(str(self.expected))

    @property
    def observation(self) -> str:
        """Say what was seen; of a budget, also how much of it was used."""
        words = describe(self.seen, self.unit)
        used = self._used()
        return self._labelled(f"{words}, {used} of the budget" if used else words)

    @property
    def details(self) -> str:
        """Put the further facts into words; empty where there are none."""
        return "; ".join(f"{key}: {describe(fact)}" for key, fact in self.facts.items())

    def __str__(self) -> str:
        text = f"expected {self.expectation}; seen {self.observation}"
        if self.details:
            text += f"; {self.details}"
        return f"{self.during}: {text}" if self.during else text

    def rejudged(self, budgets: Mapping[str, float]) -> Check:
        """Return the same check under other budgets, by name."""
        if self.expected.budget not in budgets:
            return self
        limit = budgets[self.expected.budget]
        return self._with(expected=replace(self.expected, value=plain(limit)))

    def redacted(self, redact: Callable[[str], str]) -> Check:
        """Return it with `redact` applied to every text in it."""
        expected = replace(self.expected, value=_each_text(self.expected.value, redact))
        facts = {key: _each_text(fact, redact) for key, fact in self.facts.items()}
        return self._with(
            seen=_each_text(self.seen, redact), expected=expected, facts=facts
        )

    def record(self) -> dict[str, Any]:
        """Return all of it for JSON; `read` takes it back."""
        return {
            "name": self.name,
            "of": self.of,
            "during": self.during,
            "relation": str(self.expected.relation),
            "expected": self.expected.value,
            "expected_unit": self.expected.unit,
            "budget": self.expected.budget,
            "seen": self.seen,
            "unit": self.unit,
            "facts": dict(self.facts),
        }

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Check:
        """Make a check of what `record` returned."""
        expected = Expectation(
            Relation(record["relation"]),
            record["expected"],
            record["expected_unit"],
            record["budget"],
        )
        check = cls(record["name"], None, expected)
        keys = ("seen", "of", "during", "unit", "facts")
        return check._with(**{key: record[key] for key in keys})

    def _labelled(self, words: str) -> str:
        if not self.of:
            return words
        several = isinstance(self.seen, list | dict)
        return f"{self.of}: {words}" if several else f"{self.of} {words}"

    def _used(self) -> str:
        limit, seen = self.expected.value, self.seen
        if self.expected.relation is not Relation.AT_MOST or not self.expected.budget:
            return ""
        if not isinstance(limit, int | float) or not isinstance(seen, int | float):
            return ""
        return with_unit(max(0.0, seen) / limit, SHARE)

    def _with(self, **values: object) -> Check:
        copy = object.__new__(Check)
        known = ("name", "seen", "expected", "of", "during", "unit", "facts")
        for key in known:
            object.__setattr__(copy, key, values.get(key, getattr(self, key)))
        return copy


def _bound(relation: Relation, limit: float | Quantity) -> Expectation:
    budget = limit.name if isinstance(limit, Limit) else ""
    return Expectation(relation, _value(limit), _unit(limit), budget)


def _value(value: object) -> Plain:
    return plain(value.value if isinstance(value, Quantity) else value)


def _unit(value: object) -> str:
    return value.unit if isinstance(value, Quantity | Limit) else ""


def _contains(seen: Plain, items: list[Any]) -> bool:
    return _searchable(seen) and all(item in seen for item in items)


def _lacks(seen: Plain, items: list[Any]) -> bool:
    # What cannot be searched proves no absence.
    return _searchable(seen) and all(item not in seen for item in items)


def _only(seen: Plain, items: list[Any]) -> bool:
    return isinstance(seen, list | dict) and all(item in items for item in seen)


def _searchable(seen: Plain) -> TypeGuard[str | list[Any] | dict[str, Any]]:
    return isinstance(seen, str | list | dict)


def _empty(value: Plain) -> bool:
    return value is None or value in ("", [], {})


def _number(value: Plain) -> float:
    """Return a number to compare; one that is none compares as no number does."""
    if value == INFINITE:
        return math.inf
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return math.nan


_DECIDES: dict[Relation, Callable[[Any, Any], bool]] = {
    Relation.EQUALS: operator.eq,
    Relation.DIFFERS: operator.ne,
    Relation.AT_MOST: lambda seen, limit: _number(seen) <= _number(limit),
    Relation.AT_LEAST: lambda seen, limit: _number(seen) >= _number(limit),
    Relation.CONTAINS: _contains,
    Relation.LACKS: _lacks,
    Relation.ONE_OF: lambda seen, items: seen in items,
    Relation.ONLY: _only,
    Relation.STARTS: lambda seen, start: (
        isinstance(seen, str) and seen.startswith(start)
    ),
    Relation.PRESENT: lambda seen, _: not _empty(seen),
    Relation.ABSENT: lambda seen, _: _empty(seen),
}


def _each_text(value: Plain, redact: Callable[[str], str]) -> Plain:
    match value:
        case str(text):
            return redact(text)
        case list(items):
            return [_each_text(item, redact) for item in items]
        case dict(parts):
            return {key: _each_text(item, redact) for key, item in parts.items()}
        case other:
            return other
