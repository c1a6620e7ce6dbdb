"""JUnit XML for CI: one suite for the register, one for each file of tests.

`failed` is a <failure>, `broken` an <error>: CI counts the subject's failures and the
instrument's apart. Stays within what Jenkins' and GitLab's readers both take.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from harness.criteria import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.report.model import CriterionResult, Results, RunSummary, TestResult

# XML 1.0 has no way to write these, not even escaped; consoles are full of them.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_OF_OUTCOME: dict[Outcome, str] = {
    Outcome.FAILED: "failure",
    Outcome.BROKEN: "error",
    Outcome.SKIPPED: "skipped",
}
_OF_VERDICT = {
    Verdict.FAIL: "failure",
    Verdict.BROKEN: "error",
    Verdict.NOT_RUN: "skipped",
}


def render(results: Results) -> str:
    """Render `junit.xml`."""
    root = ET.Element("testsuites", name="acceptance")
    root.append(_suite("criteria", results.run, map(_criterion, results.criteria)))
    by_file: dict[str, list[TestResult]] = defaultdict(list)
    for test in results.tests:
        by_file[test.nodeid.partition("::")[0]].append(test)
    for file, tests in by_file.items():
        root.append(_suite(_dotted(file), results.run, map(_test, tests)))
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    root.set("time", _seconds(results.run.duration_s))
    ET.indent(root, space=" ")
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def _suite(name: str, run: RunSummary, cases: Iterable[ET.Element]) -> ET.Element:
    suite = ET.Element("testsuite", name=name)
    suite.append(_properties(_provenance(run)))
    suite.extend(cases)
    found = suite.findall("testcase")
    suite.set("tests", str(len(found)))
    for kind, attribute in (
        ("failure", "failures"),
        ("error", "errors"),
        ("skipped", "skipped"),
    ):
        suite.set(attribute, str(sum(c.find(kind) is not None for c in found)))
    suite.set("time", _seconds(sum(float(c.get("time", "0")) for c in found)))
    suite.set("timestamp", run.started)
    return suite


def _criterion(row: CriterionResult) -> ET.Element:
    case = _case("criteria", row.id, row.duration_s)
    if kind := _OF_VERDICT.get(row.verdict):
        _ended(case, kind, str(row.verdict), row.reason)
    lines = [row.title, row.reason, *row.tests, *row.evidence]
    ET.SubElement(case, "system-out").text = _writable("\n".join(lines))
    return case


def _test(test: TestResult) -> ET.Element:
    file, _, name = test.nodeid.partition("::")
    case = _case(_dotted(file), name or file, test.duration_s)
    said = [("criterion", c) for c in test.criteria]
    if test.stage:
        said.append(("stage", test.stage))
    if said:
        case.append(_properties(said))
    if kind := _OF_OUTCOME.get(test.outcome):
        _ended(case, kind, test.outcome, test.reason)
    lines = [
        f"{'ok' if check.ok else 'NOT OK'} {check.name}: {check.reason}"
        for check in test.checks
    ]
    lines += [*test.notes, *test.evidence, *test.machines]
    if lines:
        ET.SubElement(case, "system-out").text = _writable("\n".join(lines))
    return case


def _case(classname: str, name: str, seconds: float) -> ET.Element:
    return ET.Element(
        "testcase", classname=classname, name=_writable(name), time=_seconds(seconds)
    )


def _ended(case: ET.Element, kind: str, word: str, reason: str) -> None:
    first = reason.splitlines()[0] if reason else word
    element = ET.SubElement(case, kind, message=_writable(first))
    if kind != "skipped":
        element.set("type", word)
    element.text = _writable(reason)


def _properties(pairs: Iterable[tuple[str, str]]) -> ET.Element:
    properties = ET.Element("properties")
    for name, value in pairs:
        ET.SubElement(properties, "property", name=name, value=_writable(value))
    return properties


def _provenance(run: RunSummary) -> list[tuple[str, str]]:
    data = run.model_dump(mode="json", exclude={"started", "images"})
    pairs = [
        (name, "; ".join(value) if isinstance(value, list) else str(value))
        for name, value in data.items()
    ]
    return pairs + [(f"image:{name}", digest) for name, digest in run.images.items()]


def _dotted(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def _seconds(value: float) -> str:
    return f"{value:.3f}"


def _writable(text: str) -> str:
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)
