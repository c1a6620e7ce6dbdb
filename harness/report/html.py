"""The page `index.html`, one file that also prints and may be mailed alone."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.criteria import BY_ID, ControlVerdict, short
from harness.facts import describe
from harness.report.colours import COLLATERAL, ELSEWHERE, css
from harness.report.excerpts import plain
from harness.report.story import chapters, controls_sentence, headline
from harness.report.view import ordered, view

if TYPE_CHECKING:
    from pathlib import Path

    from harness.report.model import ControlResult, Results

_MOST_CHARS = 8000  # of one text


def render(results: Results, directory: Path) -> str:
    """Render `index.html` for a report whose evidence lies in `directory`."""
    environment = Environment(
        loader=PackageLoader("harness.report", "."),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "url": quote,
        "short": short,
        "seconds": seconds,
        "fact": describe,
        "bounded": bounded,
    }
    sentence, colour = headline(results)
    rows = matrix(results)
    views = [view(t, n, directory) for n, t in enumerate(results.tests, 1)]
    text = environment.get_template("index.html.j2").render(
        results=results,
        register=BY_ID,
        run=results.run,
        headline=sentence,
        colour=colour,
        colour_rules=css(),
        views=ordered(views),
        by_nodeid={v.test.nodeid: v for v in views},
        tally=Counter(str(t.outcome) for t in results.tests),
        chapters=chapters(results),
        control_rows=rows,
        columns=[c.id for c in results.criteria if any(r[1][c.id] for r in rows)],
        controls_said=controls_sentence(results.controls) if results.controls else "",
        only_controls=bool(results.controls) and not results.tests,
    )
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()) + "\n"


def _printable(value: object) -> object:
    """Take terminal codes out of a text; what is rendered already has none."""
    return plain(value) if type(value) is str else value


def bounded(text: str) -> str:
    """Cut a text that is too long for a page."""
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]} …"


def matrix(results: Results) -> list[tuple[ControlResult, dict[str, str]]]:
    """Lay out controls against criteria: what each cell shows; what is wrong first."""
    good = {ControlVerdict.CAUGHT, ControlVerdict.QUIET}
    rows = sorted(results.controls, key=lambda control: control.verdict in good)
    return [
        (control, {c.id: _cell(control, c.id) for c in results.criteria})
        for control in rows
    ]


def seconds(value: float) -> str:
    """Render a duration for people: tenths below a minute, then minutes."""
    if value < 60:  # noqa: PLR2004 - a minute
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def _cell(control: ControlResult, criterion: str) -> str:
    expected, failed = criterion in control.expects, criterion in control.failed
    if expected and failed:
        missed = control.verdict == ControlVerdict.MISSED and not control.check
        return ELSEWHERE if missed else ControlVerdict.CAUGHT
    if expected:
        broken = control.verdict == ControlVerdict.BROKEN
        return ControlVerdict.BROKEN if broken else ControlVerdict.MISSED
    return COLLATERAL if criterion in control.collateral or failed else ""
