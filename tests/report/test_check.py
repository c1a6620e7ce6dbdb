"""Checks: what decides is what is shown, and it can be decided again."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.evidence import (
    Check,
    absent,
    at_least,
    at_most,
    contains,
    differs_from,
    lacks,
    one_of,
    only,
    present,
    starts_with,
)
from harness.facts import INFINITE, Limit, Quantity, describe, plain, unit_of


class Colour(StrEnum):
    """A closed set."""

    RED = "red"


class Tick(NamedTuple):
    """A tuple with names."""

    n: int
    at: float


@dataclass(frozen=True)
class Unit:
    """A class without a `fact`."""

    name: str
    main: int


@dataclass(frozen=True)
class Offspring:
    """A class that says what identifies it."""

    pid: int
    state: str

    def fact(self) -> dict[str, object]:
        """Leave out what may change."""
        return {"PID": self.pid}


@pytest.mark.parametrize(
    ("value", "form", "words"),
    [
        (None, None, "none"),
        (True, True, "yes"),
        (3, 3, "3"),
        (12.345, 12.345, "12.3"),
        (126326.4, 126326.4, "126326"),
        (math.inf, INFINITE, INFINITE),
        ("two words", "two words", '"two words"'),
        ("", "", "empty"),
        ("a\n\nb\n", "a\n\nb\n", '"a ⏎ b"'),
        ("a" + 9 * " " + "b", "a" + 9 * " " + "b", '"a  b"'),
        (Colour.RED, "red", "red"),
        (Path("/nix/store"), "/nix/store", "/nix/store"),
        (IPv4Address("10.0.0.1"), "10.0.0.1", "10.0.0.1"),
        ((), [], "none"),
        ({2, 1}, [1, 2], "1, 2"),
        (range(10), list(range(10)), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"),
        (Tick(1, 0.5), {"n": 1, "at": 0.5}, "n 1, at 0.5"),
        (Unit("lab", 4), {"name": "lab", "main": 4}, "name lab, main 4"),
        (Offspring(4, "S"), {"PID": 4}, "PID 4"),
        ({"a": Offspring(4, "S")}, {"a": {"PID": 4}}, "a (PID 4)"),
        ({}, {}, "none"),
        (Quantity(1.5, "s"), {"value": 1.5, "unit": "s"}, "1.5 s"),
        ([Quantity(0.5, "share")], [{"value": 0.5, "unit": "share"}], "50 %"),
    ],
)
def test_values_have_a_plain_form_and_words(
    value: object, form: object, words: str
) -> None:
    """By type, never by repr; both survive JSON."""
    assert plain(value) == form
    assert describe(value) == words
    assert describe(json.loads(json.dumps(plain(value)))) == words


@pytest.mark.parametrize("value", [object(), b"raw", Offspring])
def test_what_has_no_words_is_refused(value: object) -> None:
    """Nothing falls back to a repr."""
    with pytest.raises(TypeError, match="has no plain form"):
        plain(value)


def test_a_long_text_keeps_its_end() -> None:
    """The last lines of a program say why it failed."""
    words = describe("\n".join(f"line {n}" for n in range(200)))
    assert words.startswith('"…')
    assert words.endswith('line 199"')
    assert len(words) < 450


@pytest.mark.parametrize(
    ("seen", "expected", "held"),
    [
        (1, 1, True),
        (1, 2, False),
        ([1, 2], (1, 2), True),
        ({2, 1}, {1, 2}, True),
        (Offspring(4, "S"), Offspring(4, "R"), True),
        (None, differs_from(None), False),
        (3.0, at_most(3), True),
        (3.1, at_most(3), False),
        (math.inf, at_most(3), False),
        (math.inf, at_least(3), True),
        (None, at_most(3), False),
        (None, at_least(3), False),
        (True, at_least(0), False),
        ("text", at_most(3), False),
        (Quantity(4, "s"), at_least(Quantity(3, "s")), True),
        ("a b", contains("a", "b"), True),
        ("a b", contains("a", "c"), False),
        (["a"], contains("a"), True),
        ({"a": 1}, contains("a"), True),
        (None, contains("a"), False),
        ("a b", lacks("c"), True),
        ("a b", lacks("c", "b"), False),
        (None, lacks("c"), False),
        ("red", one_of(Colour.RED, "blue"), True),
        ("green", one_of("red", "blue"), False),
        ([], only("a"), True),
        (["a", "b"], only("a"), False),
        ("a", only("a"), False),
        ("/nix/store/x", starts_with("/nix"), True),
        ("/usr", starts_with("/nix"), False),
        (0, present(), True),
        ([], present(), False),
        ("", absent(), True),
        (0, absent(), False),
    ],
)
def test_relations(seen: object, expected: object, held: bool) -> None:  # noqa: FBT001 - a table
    """What cannot be compared or searched never holds."""
    check = Check("a name", seen, expected)
    assert check.held is held
    assert Check.read(json.loads(json.dumps(check.record()))) == check


def test_words_are_the_same_for_a_pass_and_a_failure() -> None:
    """Only the value seen differs."""
    limit = Limit(3000, "heartbeat_gap_ms")

    def words(gap: float) -> str:
        gap_ms = Quantity(gap, "ms")
        check = Check(
            "no gap", gap_ms, at_most(limit), during="after a switch", session="alpha"
        )
        return str(check)

    assert words(150) == (
        "after a switch: expected at most 3000 ms (budget heartbeat_gap_ms); "
        "seen 150 ms, 5 % of the budget; session: alpha"
    )
    assert words(4500) == words(150).replace("150 ms, 5 %", "4500 ms, 150 %")


def test_what_was_looked_at_is_named() -> None:
    """Before a single value, and with a colon before several."""
    assert Check("x", 1, 0, of="exit status").observation == "exit status 1"
    assert Check("x", [], [], of="taps").observation == "taps: none"
    assert Check("x", [], present(), of="taps").expectation == "taps: present"


def test_other_budgets_decide_anew() -> None:
    """A kept check needs no VM for that; one without a budget stays as it was."""
    check = Check("reboot", Quantity(130, "s"), at_most(Limit(120, "reboot_s")))
    assert not check.held
    later = check.rejudged({"reboot_s": 150.0})
    assert later.held
    assert later.expectation == "at most 150 s (budget reboot_s)"
    assert check.rejudged({"swap_outage_s": 1.0}) == check
    assert Check("x", 1, 2).rejudged({"reboot_s": 1.0}) == Check("x", 1, 2)


@pytest.mark.parametrize(
    ("budget", "unit"),
    [
        ("heartbeat_gap_ms", "ms"),
        ("reboot_s", "s"),
        ("inode_share", "share"),
        ("cpu_share_error", "share"),
        ("inode_growth_per_cycle", "inodes"),
        ("bytes_per_inode_max", "bytes"),
        ("inode_generations_headroom", "generations"),
        ("boot_free_factor", ""),
    ],
)
def test_a_budget_has_the_unit_of_its_name(budget: str, unit: str) -> None:
    """So that no check has to repeat it."""
    assert unit_of(budget) == unit


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_words_are_one_line_and_never_empty(value: object) -> None:
    """With any output of a guest."""
    words = describe(value)
    assert words.strip()
    assert "\n" not in words
