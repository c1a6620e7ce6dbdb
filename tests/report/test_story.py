"""The first sentence of a report is true for every kind of run."""

from __future__ import annotations

import pytest

from harness.criteria import DECIDING, REGISTER, Verdict
from harness.report.model import (
    ControlResult,
    CriterionResult,
    Results,
    RunSummary,
    TestResult,
)
from harness.report.story import headline, sentence_of

PASSED = TestResult(nodeid="a.py::test_a", outcome="passed")
FAILED = TestResult(nodeid="a.py::test_b", outcome="failed", reason="no")
BROKEN = TestResult(nodeid="a.py::test_c", outcome="broken", reason="died")
CUT = TestResult(nodeid="a.py::test_d", outcome="broken", reason="interrupted")


def ran(
    verdicts: dict[str, str], *tests: TestResult, rest: str = "not-run", **run: object
) -> Results:
    """Make a run with these verdicts, `rest` for all others."""
    summary = RunSummary(id="x", started="t", duration_s=1)
    return Results(
        run=summary.model_copy(update=run),
        criteria=tuple(
            CriterionResult(
                id=row.id,
                decides=row.decides,
                verdict=Verdict(verdicts.get(row.id, rest)),
                reason="r",
            )
            for row in REGISTER
        ),
        tests=tests,
    )


FIVE = dict.fromkeys(DECIDING, "pass")
ONE = {"gc-no-estale": "pass"}


@pytest.mark.parametrize(
    ("results", "sentence", "word"),
    [
        (ran(FIVE, PASSED, full=True), "All 5 required criteria passed.", "pass"),
        (
            ran(FIVE | {"swap-rollback": "fail"}, PASSED, FAILED, full=True),
            "All 5 required criteria passed, others did not: swap-rollback.",
            "fail",
        ),
        (
            ran(FIVE, PASSED, BROKEN, full=True),
            "All 5 required criteria passed, but 1 test broken.",
            "broken",
        ),
        (
            ran(FIVE | {"gc-no-estale": "fail"}, PASSED, FAILED, full=True),
            "4 of 5 required criteria passed; 1 fail.",
            "fail",
        ),
        (
            ran(ONE, PASSED),
            "A part of the suites judged 1 criterion: 1 pass; 22 not judged.",
            "pass",
        ),
        (
            ran({"gc-no-estale": "fail"}, PASSED, FAILED),
            (
                "A part of the suites judged 1 criterion: 1 fail (1 test failed);"
                " 22 not judged."
            ),
            "fail",
        ),
        (
            ran({"gc-no-estale": "fail"}, FAILED, fault="a-fault"),
            (
                "Under the fault a-fault: a part of the suites judged 1 criterion:"
                " 1 fail (1 test failed); 22 not judged."
            ),
            "fail",
        ),
        (
            ran({}, PASSED, CUT, full=True, interrupted=True, unrun=("a", "b")),
            (
                "Interrupted after 1 of 4 tests: nothing failed so far, nothing is"
                " decided."
            ),
            "not-run",
        ),
        (
            ran(
                {"gc-no-estale": "fail"},
                *(PASSED, FAILED, CUT),
                full=True,
                interrupted=True,
            ),
            "Interrupted after 2 of 3 tests: 1 test failed so far, nothing is decided.",
            "fail",
        ),
        (
            ran(ONE, PASSED, full=True, interrupted=True, unrun=("a",)),
            (
                "Interrupted after 1 of 2 tests: nothing failed so far, 1 criterion is"
                " decided."
            ),
            "not-run",
        ),
        (
            ran(FIVE | {"gc-no-estale": "partial"}, PASSED, full=True),
            "4 of 5 required criteria passed; 1 partial.",
            "partial",
        ),
        (
            ran({"gc-no-estale": "partial", "swap-rollback": "pass"}, PASSED),
            "A part of the suites judged 2 criteria: 1 partial, 1 pass; 21 not judged.",
            "partial",
        ),
        (ran({}), "No test ran: nothing is decided.", "not-run"),
        (
            ran({}, uncollected=("a.py: no",)),
            "No test ran: a.py: no.",
            "broken",
        ),
        (
            ran({}, TestResult(nodeid="a", outcome="skipped")),
            "A part of the suites: 1 test ran, no criterion judged.",
            "not-run",
        ),
    ],
)
def test_headline(results: Results, sentence: str, word: str) -> None:
    """It says what was decided, and no more."""
    assert headline(results) == (sentence, word)


def control(verdict: str, *expects: str) -> ControlResult:
    """Rule on one fault."""
    return ControlResult(id=verdict, expects=expects, failed=(), verdict=verdict)


@pytest.mark.parametrize(
    ("rulings", "sentence", "word"),
    [
        (
            [control("caught", "x")] * 126 + [control("quiet")] * 10,
            "126 of 126 faults detected; 10 of 10 harmless variants quiet.",
            "pass",
        ),
        ([control("caught", "x")], "1 of 1 fault detected.", "pass"),
        (
            [control("caught", "x"), control("broken", "x")],
            "1 of 2 faults detected; 1 could not be judged (broken).",
            "broken",
        ),
        (
            [control("missed", "x"), control("noisy")],
            "0 of 1 fault detected; 0 of 1 harmless variant quiet; 1 missed.",
            "fail",
        ),
    ],
)
def test_headline_of_controls(
    rulings: list[ControlResult], sentence: str, word: str
) -> None:
    """A run of controls counts faults, alone and after the criteria of a run."""
    alone = ran({}).model_copy(update={"controls": tuple(rulings)})
    assert headline(alone) == (sentence, word)
    full = ran(FIVE, PASSED, full=True)
    both = full.model_copy(update={"controls": tuple(rulings)})
    assert headline(both) == (f"All 5 required criteria passed. {sentence}", word)


@pytest.mark.parametrize(
    ("nodeid", "title", "sentence"),
    [
        ("a.py::test_swap_moves", "", "Swap moves"),
        ("a.py::test_cut[while-x]", "", "Cut (while-x)"),
        ("a.py::test_cut[while-x]", "Power is cut.", "Power is cut (while-x)"),
        ("a.py", "", "A.py"),
    ],
)
def test_a_test_is_named_by_a_sentence(nodeid: str, title: str, sentence: str) -> None:
    """By its docstring, else by its name."""
    test = TestResult(nodeid=nodeid, title=title, outcome="passed")
    assert sentence_of(test) == sentence
