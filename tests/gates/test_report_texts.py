"""The texts of a real passing run: whole, in words, and without a failure."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.report import html, junit
from harness.report.model import CheckResult, Results, TestResult
from harness.report.wording import misworded
from tests.report.samples import results

# The first check of each name, from `results.json` of a full run that passed.
PASSING_RUN = Path(__file__).with_name("passing_run.json")
NODEID = "suites/all/test_all.py::test_all"


@pytest.fixture(scope="module")
def passing() -> Results:
    """Give the recorded checks as one test of a report."""
    rows = json.loads(PASSING_RUN.read_text(encoding="utf-8"))
    checks = tuple(CheckResult.model_validate(row) for row in rows)
    test = TestResult.model_validate({"nodeid": NODEID, "outcome": "passed"})
    test = test.model_copy(update={"checks": checks})
    return results().model_copy(update={"tests": (test,)})


def test_every_check_of_it_held_by_its_facts(passing: Results) -> None:
    """And says so in whole words."""
    assert len(passing.tests[0].checks) > 150
    assert all(row.ok for row in passing.tests[0].checks)
    assert misworded(passing) == []


def test_page_and_junit_show_expected_and_seen(
    passing: Results, tmp_path: Path
) -> None:
    """Each check by the words of its facts, in both."""
    page = html.render(passing, tmp_path)
    assert page.count('<td class="held passed">held</td>') == len(
        passing.tests[0].checks
    )
    assert "did not hold" not in page
    root = ET.fromstring(junit.render(passing))  # noqa: S314 - our own text
    (case,) = root.findall(f"./testsuite/testcase[@name='{NODEID.split('::')[1]}']")
    lines = (case.findtext("system-out") or "").splitlines()
    assert len(lines) == len(passing.tests[0].checks)
    for line in lines:
        assert line.startswith("ok "), line
        assert ": expected " in line, line
        assert "; seen " in line, line
