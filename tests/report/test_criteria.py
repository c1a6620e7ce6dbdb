"""The register and how verdicts follow from outcomes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.criteria import (
    BY_ID,
    DECIDING,
    REGISTER,
    Judged,
    Outcome,
    Verdict,
    deciding,
    judge,
    unknown,
)

SWITCH = BY_ID["switch-keeps-sessions"]
ANY_OUTCOMES = st.lists(st.sampled_from(Outcome), max_size=6)


def ended(*outcomes: Outcome) -> list[Judged]:
    """Make one test per outcome."""
    return [
        Judged(f"suites/x.py::test_{n}", outcome, f"because {n}")
        for n, outcome in enumerate(outcomes)
    ]


def test_the_five_decide() -> None:
    """Exactly the register's five required rows decide the exit status."""
    assert DECIDING == (
        "switch-keeps-sessions",
        "reboot-boots-guest-kernel",
        "gc-no-estale",
        "swap-keeps-address",
        "inodes-within-budget",
    )


def test_ids_are_unique() -> None:
    """No id names two rows, and the checkout rows are there."""
    assert len(BY_ID) == len(REGISTER)
    assert sum(row.id.startswith("checkout-") for row in REGISTER) == 6


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ([Outcome.PASSED, Outcome.PASSED], Verdict.PASS),
        ([Outcome.PASSED, Outcome.SKIPPED], Verdict.PARTIAL),
        ([Outcome.PASSED, Outcome.DESELECTED], Verdict.PARTIAL),
        ([Outcome.SKIPPED, Outcome.BROKEN], Verdict.BROKEN),
        ([Outcome.DESELECTED, Outcome.FAILED], Verdict.FAIL),
        ([Outcome.PASSED, Outcome.BROKEN, Outcome.FAILED], Verdict.FAIL),
        ([Outcome.PASSED, Outcome.BROKEN], Verdict.BROKEN),
        ([Outcome.PASSED, Outcome.UNRUN], Verdict.NOT_RUN),
        ([Outcome.SKIPPED, Outcome.SKIPPED], Verdict.NOT_RUN),
        ([Outcome.DESELECTED], Verdict.NOT_RUN),
        ([], Verdict.NOT_RUN),
    ],
)
def test_verdict_of_outcomes(outcomes: list[Outcome], verdict: Verdict) -> None:
    """Fail beats broken beats undecided beats pass; nothing ran is never a pass."""
    assert judge(SWITCH, ended(*outcomes), full=True).verdict is verdict


@given(ANY_OUTCOMES)
def test_pass_is_hard_to_get(outcomes: list[Outcome]) -> None:
    """A pass means: all passed, and there was one."""
    passed = judge(SWITCH, ended(*outcomes), full=True).verdict is Verdict.PASS
    assert passed == (set(outcomes) == {Outcome.PASSED})


def test_an_optional_test_is_not_missed() -> None:
    """It is listed, and its criterion passes without it; it still can fail."""
    tests = [Judged("a", Outcome.PASSED), Judged("b", Outcome.DESELECTED, "", True)]
    assert judge(SWITCH, tests, full=True).verdict is Verdict.PASS
    tests[1] = Judged("b", Outcome.FAILED, "", optional=True)
    assert judge(SWITCH, tests, full=True).verdict is Verdict.FAIL


def test_a_partial_verdict_counts_and_names() -> None:
    """So many of how many, and what did not run, with the reason of a skip."""
    tests = ended(Outcome.PASSED, Outcome.SKIPPED)
    missing = [f"suites/y.py::test_y{n}" for n in range(4)]
    decision = judge(SWITCH, tests, full=False, missing=missing)
    assert decision.verdict is Verdict.PARTIAL
    assert decision.reason == (
        "1 of 6 tests passed; not run: test_1 (because 1), test_y0, test_y1 and 2 more"
    )


def test_what_decides() -> None:
    """All but the optional; where each is that, all."""
    plain, long = Judged("a", Outcome.PASSED), Judged("b", Outcome.PASSED, "", True)
    assert deciding([plain, long]) == ["a"]
    assert deciding([long]) == ["b"]


@given(ANY_OUTCOMES, st.booleans())
def test_every_ruling_has_a_reason(outcomes: list[Outcome], full: bool) -> None:  # noqa: FBT001
    """No verdict comes without a sentence."""
    assert judge(SWITCH, ended(*outcomes), full=full).reason


def test_reasons_name_the_test_and_what_it_saw() -> None:
    """A failure's reason leads to the test; a skip's says why."""
    failed = judge(SWITCH, ended(Outcome.PASSED, Outcome.FAILED), full=True)
    assert failed.reason == "1 of 2 tests failed: test_1: because 1"
    skipped = judge(SWITCH, ended(Outcome.SKIPPED), full=True)
    assert skipped.reason == "1 test skipped (because 0)"


def test_absent_tests_say_why() -> None:
    """Nothing is silently absent: each row without tests has its own reason."""
    reasons = {
        judge(SWITCH, [], full=True).reason,
        judge(SWITCH, [], full=False).reason,
        judge(BY_ID["checkout-sops"], [], full=True).reason,
    }
    assert len(reasons) == 3


def test_unknown_ids() -> None:
    """Ids that are no row are named, sorted, once."""
    assert unknown(["gc-no-estale", "z", "a", "z"]) == ["a", "z"]
