"""The page `index.html`, one file that also prints."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.criteria import BY_ID, ControlVerdict, short
from harness.report import drawings
from harness.report.colours import COLLATERAL, css
from harness.report.merge import read_record
from harness.report.story import chapters, headline

if TYPE_CHECKING:
    from pathlib import Path

    from harness.report.drawings import Drawing
    from harness.report.model import ControlResult, Results, TestResult


def render(results: Results, directory: Path) -> str:
    """Render `index.html` for a report whose evidence lies in `directory`."""
    environment = Environment(
        loader=PackageLoader("harness.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"url": quote, "short": short, "seconds": seconds}
    sentence, colour = headline(results)
    by_nodeid = {test.nodeid: test for test in results.tests}
    text = environment.get_template("index.html.j2").render(
        results=results,
        register=BY_ID,
        run=results.run,
        headline=sentence,
        colour=colour,
        colour_rules=css(),
        tests=by_nodeid,
        drawn={t.nodeid: draw(t, directory) for t in results.tests},
        anchors={t.nodeid: f"t{n}" for n, t in enumerate(results.tests, 1)},
        chapters=chapters(results),
        control_rows=matrix(results),
        machine_files={
            m: machine_files(directory, m) for t in results.tests for m in t.machines
        },
    )
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def draw(test: TestResult, directory: Path) -> list[Drawing]:
    """Draw a test's series; one that cannot be drawn must not cost the report."""
    found = []
    for path in test.evidence:
        if not path.endswith("/record.json"):
            continue
        folder = (directory / path).parent
        try:
            record = read_record(directory / path)
            series = [drawings.load(folder / s["path"]) for s in record["series"]]
            found += drawings.draw_all(series)
        except Exception as error:  # noqa: BLE001 - told in its place instead
            found.append(drawings.Drawing(f"could not be drawn: {error!r}", ""))
    return found


def matrix(results: Results) -> list[tuple[ControlResult, dict[str, str]]]:
    """Lay out controls against criteria: what each cell shows."""
    return [
        (control, {c.id: _cell(control, c.id) for c in results.criteria})
        for control in results.controls
    ]


def machine_files(directory: Path, machine: str) -> list[str]:
    """Name the files collected from a machine."""
    found = (directory / machine).glob("*")
    return sorted(path.name for path in found if path.is_file())


def seconds(value: float) -> str:
    """Render a duration for people: tenths below a minute, then minutes."""
    if value < 60:  # noqa: PLR2004 - a minute
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def _cell(control: ControlResult, criterion: str) -> str:
    expected, failed = criterion in control.expects, criterion in control.failed
    if expected:
        return ControlVerdict.CAUGHT if failed else ControlVerdict.MISSED
    return COLLATERAL if criterion in control.collateral or failed else ""
