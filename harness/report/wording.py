"""Texts that no report may have: a gate over checks, for tests and for CI.

A check that held must read as one. That it cannot contradict itself follows from its
relation; this looks for texts that came out torn, as Python, or as a failure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.report.model import CheckResult, Results

# What only Python writes: reprs of objects, containers and values.
_REPR = re.compile(
    r"<[\w.]+ (?:object )?at 0x|\b(?:[A-Z]\w+|frozenset|set|dict)\([\w']*=?|"
    r"\bNone\b|\bTrue\b|\bFalse\b|\bb'|\[\]|\{\}|\(\)|'[^']*': "
)
_TORN = re.compile(r"[:;,(`]\s*$|\b(?:of|to)\s*$|^\s*[:;,)`]|``|: ;|\(\s*\)")
# A name or an event is a fact; that it came true is said by `ok` alone.
_FAILURE = re.compile(r"\b(did not|was lost|were lost|failed to|went wrong|was not)\b")


def misworded(results: Results) -> list[str]:
    """List every text of a check that is torn, a repr, or contradicts its outcome."""
    return [
        f"{test.nodeid}: {row.name}: {problem}"
        for test in results.tests
        for row in test.checks
        for problem in _problems(row)
    ]


def _problems(row: CheckResult) -> Iterator[str]:
    check = row.check
    if check is None:
        yield "it states no facts"
        return
    if check.held != row.ok:
        yield f"recorded as {'held' if row.ok else 'failed'}, its facts say otherwise"
    for label, text in (
        ("name", row.name),
        ("event", row.during),
        ("what it looks at", row.of),
        *(("name of a fact", fact) for fact in row.facts),
    ):
        if _TORN.search(text) or _REPR.search(text) or _FAILURE.search(text):
            yield f"its {label} reads {text!r}"
    for label, text in (("expected", check.expectation), ("seen", check.observation)):
        if not text.strip():
            yield f"{label} is empty"
        # Quoted text is the guest's own and may say anything.
        own = re.sub(r'"[^"]*"', '"…"', text)
        if _REPR.search(own):
            yield f"{label} is a repr: {text}"
