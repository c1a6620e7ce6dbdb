"""A kept report, judged again: other budgets, the same facts, no VM."""

from __future__ import annotations

import pytest

from harness.criteria import Verdict
from harness.evidence import Check, at_most
from harness.facts import Limit, Quantity
from harness.report.model import CheckResult, Results, TestResult
from harness.report.rejudge import CUT_SHORT, rejudge
from harness.report.wording import misworded
from tests.report.samples import results

SWITCH = "suites/sessions/test_switch.py::test_switch"
CRITERION = "switch-keeps-sessions"


def row(check: Check, *, required: bool = False) -> CheckResult:
    """Give a check as a report has it."""
    return CheckResult(
        **check.record(), ok=check.held, reason=str(check), required=required
    )


def gap(ms: float, limit: float = 3000, *, required: bool = False) -> CheckResult:
    """Give a check with a budget."""
    expected = at_most(Limit(limit, "heartbeat_gap_ms"))
    return row(Check("no long gap", Quantity(ms, "ms"), expected), required=required)


def kept(outcome: str, reason: str, *checks: CheckResult) -> Results:
    """Give a report with one test."""
    test = TestResult.model_validate(
        {
            "nodeid": SWITCH,
            "outcome": outcome,
            "reason": reason,
            "criteria": [CRITERION],
            "checks": [check.model_dump() for check in checks],
        }
    )
    plain = results()
    criteria = tuple(
        c.model_copy(update={"tests": (SWITCH,) if c.id == CRITERION else ()})
        for c in plain.criteria
    )
    return plain.model_copy(update={"tests": (test,), "criteria": criteria})


@pytest.mark.parametrize(
    ("outcome", "reason", "checks", "budget", "verdict"),
    [
        ("passed", "", [gap(150)], 3000, "pass"),
        ("passed", "", [gap(150)], 100, "fail"),
        ("failed", "no long gap: expected …", [gap(4000)], 3000, "fail"),
        ("failed", "no long gap: expected …", [gap(4000)], 5000, "pass"),
        ("failed", "assert 1 == 2", [gap(4000)], 5000, "fail"),
        ("failed", "assert 1 == 2", [gap(150)], 5000, "fail"),
        ("broken", "QEMU died", [gap(150)], 100, "broken"),
        ("skipped", "no such thing", [], 100, "not-run"),
    ],
)
def test_budgets_decide_again(
    outcome: str, reason: str, checks: list[CheckResult], budget: float, verdict: str
) -> None:
    """Only what rested on checks alone; the rest stays as it was."""
    now = rejudge(kept(outcome, reason, *checks), {"heartbeat_gap_ms": budget})
    assert now.verdict(CRITERION) == verdict
    assert misworded(now) == []


def test_what_came_after_a_required_check_was_never_judged() -> None:
    """So its test is undecided now, not passed."""
    report = kept("failed", "no long gap: …", gap(4000, required=True))
    (test,) = rejudge(report, {"heartbeat_gap_ms": 5000.0}).tests
    assert (test.outcome, test.reason) == ("broken", f"{CUT_SHORT}no long gap")
    assert rejudge(report, {}).tests == report.tests


def test_the_reason_follows_the_facts() -> None:
    """The first check that does not hold, in its new words."""
    now = rejudge(kept("passed", "", gap(150), gap(200)), {"heartbeat_gap_ms": 100.0})
    assert now.tests[0].reason == (
        "no long gap: expected at most 100 ms (budget heartbeat_gap_ms); "
        "seen 150 ms, 150 % of the budget (+1 more)"
    )
    assert now.verdict(CRITERION) is Verdict.FAIL


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        (row(Check("a b", 1, 1, of="{}")), "what it looks at reads '{}'"),
        (row(Check("a name:", 1, 1)), "its name reads 'a name:'"),
        (row(Check("sessions did not die", 1, 1)), "its name reads"),
        (row(Check("a", "Process(pid=3)", "x")), "seen is a repr: Process(pid=3)"),
        (row(Check("a", 1, 1, during="after `")), "its event reads"),
        (row(Check("a", 1, 2)).model_copy(update={"ok": True}), "recorded as held"),
        (CheckResult(name="a", ok=True, reason="died"), "it states no facts"),
    ],
)
def test_torn_and_foreign_texts_are_refused(check: CheckResult, problem: str) -> None:
    """Texts that no report may show."""
    found = misworded(kept("passed", "", check))
    assert any(problem in text for text in found)


def test_a_guest_may_say_anything() -> None:
    """Quoted output is evidence, not our words."""
    said = "Traceback: None\nProcess(pid=3) did not start"
    assert misworded(kept("passed", "", row(Check("a", said, said, log=said)))) == []


def test_a_possessive_is_no_bytes_literal() -> None:
    """Our names may speak of lab's page."""
    assert misworded(kept("passed", "", row(Check("lab's page", 1, 1)))) == []
