"""What a finished run makes of a fault."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from harness.criteria import Verdict
from harness.fault import Fault, Seen, judge, must_fail

GC, SWAP = "gc-no-estale", "swap-keeps-address"


class Bad(Fault):
    """Must be detected by one of two checks."""

    name = "bad"
    expects = must_fail(GC, "reads back", "verifies")


class BadTwice(Fault):
    """Must be detected by two criteria."""

    name = "bad-twice"
    expects = MappingProxyType(
        {**must_fail(GC, "reads back"), **must_fail(SWAP, "one MAC")}
    )


class Explained(Bad):
    """Something else fails with it, and why is known."""

    explained = {SWAP: "the machine is gone"}  # noqa: RUF012 - as anybody writes it


class Odd(Fault):
    """Harmless."""

    name = "odd"
    benign = True


def failed(criterion: str, *checks: str) -> Seen:
    """Make a criterion that failed in these checks."""
    return Seen(criterion, Verdict.FAIL, frozenset(checks), reason="1 test failed")


def passed(criterion: str) -> Seen:
    """Make a criterion that passed."""
    return Seen(criterion, Verdict.PASS, reason="1 test passed")


BROKEN = Seen(GC, Verdict.BROKEN, broken=True, reason="not exercised: it collected")


def test_caught_by_any_of_the_expected_checks() -> None:
    """One expected check is enough, and others may fail as well."""
    ruling = judge(Bad(), [failed(GC, "verifies", "something else"), passed(SWAP)])
    assert (ruling.verdict, ruling.check) == ("caught", "verifies")
    assert ruling.failed == (GC,)
    assert ruling.good


def test_a_failure_elsewhere_is_no_catch() -> None:
    """The right criterion for the wrong reason proves nothing."""
    ruling = judge(Bad(), [failed(GC, "sessions run on")])
    assert ruling.verdict == "missed"
    assert "another check: sessions run on" in ruling.reason
    assert not ruling.good


def test_a_failure_without_a_named_check_is_no_catch() -> None:
    """A guest that does not come back fails the test, but no check says why."""
    ruling = judge(Bad(), [failed(GC)])
    assert ruling.verdict == "missed"
    assert "no named check" in ruling.reason


def test_missed_when_the_criterion_passes() -> None:
    """The suite did not notice."""
    ruling = judge(Bad(), [passed(GC)])
    assert (ruling.verdict, ruling.reason) == ("missed", f"{GC} passed")


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param([BROKEN], id="instrument"),
        pytest.param([], id="absent"),
        pytest.param([Seen(GC, Verdict.NOT_RUN, reason="not selected")], id="not-run"),
        pytest.param(
            [Seen(GC, Verdict.FAIL, frozenset({"verifies"}), broken=True)],
            id="failed-and-broken",
        ),
    ],
)
def test_broken_never_counts_as_caught(seen: list[Seen]) -> None:
    """A fault that the instrument could not judge is not caught."""
    ruling = judge(Bad(), seen)
    assert ruling.verdict == "broken"
    assert not ruling.good


def test_broken_beside_the_expected_criterion() -> None:
    """A catch in a run that broke elsewhere is not trusted either."""
    stray = Seen(SWAP, Verdict.BROKEN, broken=True, reason="no tap")
    ruling = judge(Bad(), [failed(GC, "verifies"), stray])
    assert ruling.verdict == "broken"


def test_collateral_must_be_explained() -> None:
    """Another criterion that fails is collateral, unless the fault says why."""
    seen = [failed(GC, "verifies"), failed(SWAP, "one MAC")]
    ruling = judge(Bad(), seen)
    assert (ruling.verdict, ruling.collateral) == ("caught", (SWAP,))
    assert not ruling.good
    assert judge(Explained(), seen).good


def test_every_expected_criterion_has_to_fail() -> None:
    """Half a catch is a miss."""
    half = [failed(GC, "reads back"), passed(SWAP)]
    assert judge(BadTwice(), half).verdict == "missed"
    whole = [failed(GC, "reads back"), failed(SWAP, "one MAC")]
    ruling = judge(BadTwice(), whole)
    assert ruling.good
    assert ruling.check == "reads back, one MAC"


def test_benign() -> None:
    """Quiet, noisy, or broken when nothing at all was judged."""
    assert judge(Odd(), [passed(GC)]).good
    noisy = judge(Odd(), [passed(SWAP), failed(GC, "verifies")])
    assert (noisy.verdict, noisy.check, noisy.good) == ("noisy", "verifies", False)
    assert judge(Odd(), []).verdict == "broken"
    assert judge(Odd(), [BROKEN]).verdict == "broken"
