"""Judge a kept report again: its recorded facts under other budgets, without a VM.

Pure. A test that ended early at a required check recorded nothing after it, so a check
that holds now leaves such a test undecided rather than passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.criteria import BY_ID, Judged, Outcome, judge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.report.model import CheckResult, CriterionResult, Results, TestResult

CUT_SHORT = "ended early at a check that holds under these budgets; run it again: "


def rejudge(results: Results, budgets: Mapping[str, float]) -> Results:
    """Return the results that the recorded facts give under `budgets`, by name."""
    tests = tuple(_test(test, budgets) for test in results.tests)
    by_nodeid = {test.nodeid: test for test in tests}
    criteria = tuple(_row(row, by_nodeid, results) for row in results.criteria)
    return results.model_copy(update={"tests": tests, "criteria": criteria})


def _test(test: TestResult, budgets: Mapping[str, float]) -> TestResult:
    checks = tuple(_check(row, budgets) for row in test.checks)
    if checks == test.checks or test.outcome not in {Outcome.PASSED, Outcome.FAILED}:
        return test.model_copy(update={"checks": checks})
    before = [row for row in test.checks if not row.ok]
    if test.outcome is Outcome.FAILED and not _failed_by_checks(test, before):
        return test.model_copy(update={"checks": checks})
    outcome, reason = _decide(before, [row for row in checks if not row.ok], checks)
    update = {"checks": checks, "outcome": outcome, "reason": reason}
    return test.model_copy(update=update)


def _check(row: CheckResult, budgets: Mapping[str, float]) -> CheckResult:
    if row.check is None:
        return row
    check = row.check.rejudged(budgets)
    update = {"ok": check.held, "reason": str(check), "expected": check.expected.value}
    return row.model_copy(update=update)


def _failed_by_checks(test: TestResult, failed: list[CheckResult]) -> bool:
    """Whether the checks alone failed it, and not something raised after them."""
    return bool(failed) and test.reason.startswith(f"{failed[0].name}: ")


def _decide(
    before: list[CheckResult], now: list[CheckResult], checks: tuple[CheckResult, ...]
) -> tuple[Outcome, str]:
    if now:
        more = f" (+{len(now) - 1} more)" if now[1:] else ""
        return Outcome.FAILED, f"{now[0].name}: {now[0].reason}{more}"
    ended_early = [row for row in before if row.required and row is before[-1]]
    if ended_early and ended_early[0].name == checks[-1].name:
        return Outcome.BROKEN, f"{CUT_SHORT}{ended_early[0].name}"
    return Outcome.PASSED, ""


def _row(
    row: CriterionResult, tests: Mapping[str, TestResult], results: Results
) -> CriterionResult:
    judged = [
        Judged(n, tests[n].outcome, tests[n].reason, n not in row.missing)
        if n in tests
        else Judged(n, _absent(n, results), optional=n not in row.missing)
        for n in row.tests
    ]
    if not judged or row.id not in BY_ID:
        return row
    missing = [n for n in row.missing if n not in row.tests]
    decision = judge(BY_ID[row.id], judged, full=results.run.full, missing=missing)
    update = {"verdict": decision.verdict, "reason": decision.reason}
    return row.model_copy(update=update)


def _absent(nodeid: str, results: Results) -> Outcome:
    return Outcome.UNRUN if nodeid in results.run.unrun else Outcome.DESELECTED
