"""junit.xml: what CI servers' readers take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from harness.criteria import REGISTER, Outcome
from harness.report import junit
from tests.report import samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.report.model import Results

# The facts of the schema of Jenkins' xUnit plugin (junit-10): of each element, required
# and optional attributes, and what may be in it, any number of times in any order.
SCHEMA: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": (
        set(),
        {"name", "time", "tests", "failures", "errors"},
        {"testsuite"},
    ),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {
            *("group", "time", "skipped", "timestamp", "hostname", "id"),
            *("package", "file", "log", "url"),
        },
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "testcase": (
        {"name"},
        {"time", "classname", "group"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": (set(), {"type", "message"}, set()),
    "error": (set(), {"type", "message"}, set()),
    "skipped": (set(), {"type", "message"}, set()),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, set(), set()),
    "system-out": (set(), set(), set()),
    "system-err": (set(), set(), set()),
}
TEXT = {"failure", "error", "skipped", "system-out", "system-err"}
TIME = re.compile(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?")


def invalid(root: ET.Element) -> list[str]:
    """List what a validating reader refuses."""
    found = [] if root.tag in {"testsuites", "testsuite"} else [f"root {root.tag}"]
    for element in root.iter():
        required, optional, children = SCHEMA[element.tag]
        given = set(element.attrib)
        found += [f"{element.tag} lacks {name}" for name in required - given]
        found += [f"{element.tag} has {name}" for name in given - required - optional]
        found += [
            f"{child.tag} in {element.tag}"
            for child in element
            if child.tag not in children
        ]
        if element.tag not in TEXT and (element.text or "").strip():
            found.append(f"text in {element.tag}")
        timed = element.tag in {"testsuites", "testsuite"}
        if timed and not TIME.fullmatch(element.get("time", "")):
            found.append(f"time {element.get('time')}")
    return found


def ended_early() -> Results:
    """Give a run that was interrupted, with a file that could not be listed."""
    whole = samples.with_controls(samples.results())
    run = whole.run.model_copy(
        update={
            "interrupted": True,
            "duration_s": 12_345.678,
            "unrun": ("suites/store/test_gc.py::test_more[x y]", "suites/y.py::test_t"),
            "uncollected": ("suites/z.py: SyntaxError: <bad> & \x1b[31m",),
        }
    )
    rows = tuple(
        row.model_copy(update={"verdict": "not-run"})
        if row.id == "gc-no-estale"
        else row
        for row in whole.criteria
    )
    return whole.model_copy(update={"run": run, "criteria": rows})


def nothing_ran() -> Results:
    """Give a run without a test."""
    return samples.results().model_copy(update={"tests": ()})


@pytest.fixture(scope="module")
def root() -> ET.Element:
    """Render and parse."""
    return parse(samples.results())


def parse(results: Results) -> ET.Element:
    """Render and parse."""
    return ET.fromstring(junit.render(results).encode())  # noqa: S314 - ours


@pytest.mark.parametrize("make", [samples.results, ended_early, nothing_ran])
def test_it_is_valid(make: Callable[[], Results]) -> None:
    """Jenkins' xUnit plugin validates before it reads."""
    assert invalid(parse(make())) == []


@pytest.mark.parametrize("make", [samples.results, ended_early, nothing_ran])
def test_each_result_is_counted_once(make: Callable[[], Results]) -> None:
    """Cases are tests, those that never ran and those that could not be listed."""
    results = make()
    root = parse(results)
    cases = list(root.iter("testcase"))
    expected = (
        len(results.tests) + len(results.run.unrun) + len(results.run.uncollected)
    )
    assert len(cases) == expected == int(root.attrib["tests"])
    names = [(c.get("classname"), c.get("name")) for c in cases]
    assert len(set(names)) == len(names)
    outcomes = [test.outcome for test in results.tests]
    assert int(root.attrib["failures"]) == outcomes.count(Outcome.FAILED)
    lost = outcomes.count(Outcome.BROKEN) + len(results.run.uncollected)
    assert int(root.attrib["errors"]) == lost
    skipped = sum(int(suite.get("skipped", "0")) for suite in root)
    assert skipped == outcomes.count(Outcome.SKIPPED) + len(results.run.unrun)


def test_counts_add_up(root: ET.Element) -> None:
    """Every suite's counts are those of its cases, and the root's are their sums."""
    for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(cases)
        for tag, name in (("failure", "failures"), ("error", "errors")):
            with_it = [case for case in cases if case.find(tag) is not None]
            assert int(suite.attrib[name]) == len(with_it)
    for name in ("tests", "failures", "errors"):
        assert int(root.attrib[name]) == sum(int(s.attrib[name]) for s in root)


def test_verdicts_are_properties_of_the_first_suite() -> None:
    """All of the register is there, and the rulings of controls."""
    first = parse(ended_early())[0]
    found = {p.attrib["name"]: p.attrib["value"] for p in first.iter("property")}
    assert first.attrib["name"] == "criteria"
    assert found["swap-keeps-address"] == "fail: reason of swap-keeps-address"
    assert found["control:two-macs"] == "missed"
    assert {row.id for row in REGISTER} <= set(found)


def test_each_case_ends_one_way(root: ET.Element) -> None:
    """A case has at most one of failure, error and skipped."""
    for case in root.iter("testcase"):
        assert sum(c.tag in {"failure", "error", "skipped"} for c in case) <= 1


def test_failed_and_broken_are_apart(root: ET.Element) -> None:
    """The subject's failures are failures, the instrument's are errors."""
    kinds = {
        case.attrib["name"]: {child.tag for child in case}
        for case in root.iter("testcase")
    }
    assert "failure" in kinds["test_swap"]
    assert "error" in kinds["test_gc"]
    assert "skipped" in kinds["test_s"]


def test_provenance_is_in_the_properties(root: ET.Element) -> None:
    """Each suite says what its results rest on."""
    for suite in root:
        found = {p.attrib["name"]: p.attrib["value"] for p in suite.iter("property")}
        assert found["accel"] == "tcg"
        assert found["image:reference"] == "sha256:00"
        assert "cpus 2" in found["host"]


def test_console_garbage_is_writable(root: ET.Element) -> None:
    """Control characters, which XML cannot hold, keep the file valid."""
    swap = next(c for c in root.iter("testcase") if c.attrib["name"] == "test_swap")
    failure = swap.find("failure")
    assert failure is not None
    assert failure.text is not None
    assert "\N{REPLACEMENT CHARACTER}[31mred" in failure.text


def test_same_results_same_bytes() -> None:
    """Nothing but the results goes into the file."""
    assert junit.render(samples.results()) == junit.render(samples.results())
