"""A summary in Markdown for the page of a CI run (`GITHUB_STEP_SUMMARY`)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from harness.report.excerpts import plain
from harness.report.story import controls_sentence, headline, sentence_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.model import ControlResult, Results

VARIABLE = "GITHUB_STEP_SUMMARY"
_MOST_CHECKS = 30
_LONGEST = 300
# As entities: a renderer shows them and obeys none.
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>|~#@!$&()]")
_SHORTCODE = re.compile(r":(?=[\w+-]+:)")
_APART = "\u2060"  # a word joiner: what is between colons is no name of an emoji then


def append(text: str, environ: Mapping[str, str]) -> str:
    """Append to the file that CI names; return a warning where that is not possible.

    Without the variable nothing is done. What goes wrong here decides nothing.
    """
    name = environ.get(VARIABLE, "")
    if not name:
        return ""
    try:
        with Path(name).open("a", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except (OSError, ValueError) as error:
        return f"warning: {VARIABLE}={name!r} could not be written: {error}"
    return ""


def render(results: Results) -> str:
    """Render verdicts with reasons, failed checks, and the line about controls."""
    sentence, _ = headline(results)
    lines = ["", f"## {escaped(sentence)}", ""]
    rows = [row for row in results.criteria if row.decides or row.tests]
    if rows and results.tests:
        lines += ["| criterion | verdict | reason | time |", "|---|---|---|---:|"]
        for row in rows:
            name = f"{escaped(row.id)}{' ★' if row.decides else ''}"
            time = f"{row.duration_s:.0f} s" if row.tests else ""
            verdict = f"**{row.verdict}**"
            lines.append(f"| {name} | {verdict} | {escaped(row.reason)} | {time} |")
        lines.append("")
    lines += _failures(results)
    if results.controls:
        lines += _controls(results.controls)
    return "\n".join(lines) + "\n"


def _failures(results: Results) -> list[str]:
    failed = [
        (sentence_of(test), row)
        for test in results.tests
        for row in test.checks
        if not row.ok
    ]
    if not failed:
        return []
    lines = ["| failed check | expected and seen | test |", "|---|---|---|"]
    lines += [
        f"| {escaped(row.name)} | {escaped(row.reason)} | {escaped(test)} |"
        for test, row in failed[:_MOST_CHECKS]
    ]
    more = len(failed) - _MOST_CHECKS
    return [*lines, "", *([f"… and {more} more failed checks", ""] if more > 0 else [])]


def _controls(controls: Sequence[ControlResult]) -> list[str]:
    lines = [f"Controls: {escaped(controls_sentence(controls))}", ""]
    wrong = [c for c in controls if c.verdict not in {"caught", "quiet"}]
    if wrong:
        lines += ["| control | verdict | reason |", "|---|---|---|"]
        lines += [
            f"| {escaped(c.id)} | **{c.verdict}** | {escaped(c.reason or c.check)} |"
            for c in wrong[:_MOST_CHECKS]
        ]
        lines.append("")
    return lines


def escaped(text: str) -> str:
    """Make a text one line of Markdown that shows as it is."""
    line = " ".join(plain(text).split())
    if len(line) > _LONGEST:
        line = f"{line[:_LONGEST]}…"
    line = _SHORTCODE.sub(f":{_APART}", line)
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", line)
