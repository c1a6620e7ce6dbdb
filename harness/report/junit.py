"""JUnit XML for CI: one suite for each file of tests, one case for each test.

`failed` is a <failure>, `broken` an <error>: CI counts the subject's failures and the
instrument's apart. Verdicts of criteria are properties of the first suite. Valid by the
schema of Jenkins' xUnit plugin (junit-10), which GitLab's reader takes as well.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from harness.criteria import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.report.model import Results, RunSummary, TestResult

# XML 1.0 has no way to write these, not even escaped; consoles are full of them.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_OF_OUTCOME: dict[Outcome, str] = {
    Outcome.FAILED: "failure",
    Outcome.BROKEN: "error",
    Outcome.SKIPPED: "skipped",
}


def render(results: Results) -> str:
    """Render `junit.xml`; each test is one case, and nothing else is."""
    root = ET.Element("testsuites", name="acceptance")
    root.append(_criteria(results))
    by_file: dict[str, list[ET.Element]] = defaultdict(list)
    for test in results.tests:
        by_file[test.nodeid.partition("::")[0]].append(_test(test))
    for nodeid in results.run.unrun:
        by_file[nodeid.partition("::")[0]].append(_unrun(nodeid))
    for file, cases in by_file.items():
        root.append(_suite(_dotted(file), results.run, cases))
    if listed := [_unlisted(line) for line in results.run.uncollected]:
        root.append(_suite("collection", results.run, listed))
    # The root has no count of skipped cases in this schema.
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    root.set("time", _seconds(results.run.duration_s))
    ET.indent(root, space=" ")
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def _criteria(results: Results) -> ET.Element:
    """Give the verdicts, as properties of a suite without cases.

    As cases of their own they would count every failure twice.
    """
    verdicts = [(row.id, f"{row.verdict}: {row.reason}") for row in results.criteria]
    controls = [(f"control:{c.id}", str(c.verdict)) for c in results.controls]
    return _suite("criteria", results.run, [], [*verdicts, *controls])


def _suite(
    name: str,
    run: RunSummary,
    cases: Sequence[ET.Element],
    said: Sequence[tuple[str, str]] = (),
) -> ET.Element:
    suite = ET.Element("testsuite", name=name)
    suite.append(_properties([*_provenance(run), *said]))
    suite.extend(cases)
    suite.set("tests", str(len(cases)))
    for kind, attribute in (
        ("failure", "failures"),
        ("error", "errors"),
        ("skipped", "skipped"),
    ):
        suite.set(attribute, str(sum(c.find(kind) is not None for c in cases)))
    suite.set("time", _seconds(sum(float(c.get("time", "0")) for c in cases)))
    suite.set("timestamp", run.started)
    return suite


def _unrun(nodeid: str) -> ET.Element:
    """Give a test that never had its turn: neither passed nor lost."""
    file, _, name = nodeid.partition("::")
    case = _case(_dotted(file), name or file, 0.0)
    _ended(case, "skipped", "unrun", "did not run: the run ended before its turn")
    return case


def _unlisted(line: str) -> ET.Element:
    """Give a file whose tests could not be listed: an error of the instrument."""
    file = line.partition(":")[0].strip() or "unknown"
    case = _case("collection", file, 0.0)
    _ended(case, "error", "broken", line)
    return case


def _test(test: TestResult) -> ET.Element:
    file, _, name = test.nodeid.partition("::")
    case = _case(_dotted(file), name or file, test.duration_s)
    if kind := _OF_OUTCOME.get(test.outcome):
        _ended(case, kind, test.outcome, test.reason)
    lines = [
        f"{'ok' if check.ok else 'NOT OK'} {check.name}: {check.reason}"
        for check in test.checks
    ]
    lines += [f"judges {c}" for c in test.criteria]
    lines += [f"from stage {test.stage}"] if test.stage else []
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
    pairs = [(name, _words(value)) for name, value in data.items()]
    return pairs + [(f"image:{name}", digest) for name, digest in run.images.items()]


def _words(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return "" if value is None else str(value)


def _dotted(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def _seconds(value: float) -> str:
    return f"{value:.3f}"


def _writable(text: str) -> str:
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)
