"""junit.xml: what CI servers' readers take."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from harness.report import junit
from tests.report import samples

if TYPE_CHECKING:
    from collections.abc import Iterator

ATTRIBUTES = {
    "testsuites": {"name", "tests", "failures", "errors", "skipped", "time"},
    "testsuite": {
        *("name", "tests", "failures", "errors", "skipped", "time", "timestamp"),
    },
    "testcase": {"classname", "name", "time"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "skipped": {"message"},
    "property": {"name", "value"},
    "properties": set(),
    "system-out": set(),
}
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "testcase": {"properties", "failure", "error", "skipped", "system-out"},
    "properties": {"property"},
}


@pytest.fixture(scope="module")
def root() -> ET.Element:
    """Render and parse."""
    return ET.fromstring(junit.render(samples.results()).encode())  # noqa: S314 - ours


def elements(root: ET.Element) -> Iterator[tuple[ET.Element, ET.Element]]:
    """Yield every element with its parent."""
    for parent in root.iter():
        for child in parent:
            yield parent, child


def test_only_known_elements_and_attributes(root: ET.Element) -> None:
    """Nothing is written that a strict reader would refuse."""
    assert root.tag == "testsuites"
    for element in root.iter():
        assert set(element.attrib) <= ATTRIBUTES[element.tag]
    for parent, child in elements(root):
        assert child.tag in CHILDREN[parent.tag]


def test_counts_add_up(root: ET.Element) -> None:
    """Every suite's counts are those of its cases, and the root's are their sums."""
    for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(cases)
        for tag, name in (("failure", "failures"), ("error", "errors")):
            with_it = [case for case in cases if case.find(tag) is not None]
            assert int(suite.attrib[name]) == len(with_it)
    for name in ("tests", "failures", "errors", "skipped"):
        assert int(root.attrib[name]) == sum(int(s.attrib[name]) for s in root)


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
    assert "failure" in kinds["swap-keeps-address"]
    assert "error" in kinds["test_gc"]
    assert "error" in kinds["gc-no-estale"]
    assert "skipped" in kinds["two-consumers"]


def test_provenance_is_in_the_properties(root: ET.Element) -> None:
    """Each suite says what its results rest on."""
    for suite in root:
        found = {p.attrib["name"]: p.attrib["value"] for p in suite.iter("property")}
        assert found["accel"] == "tcg"
        assert found["image:reference"] == "sha256:00"


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
