"""What the page shows of one test: its checks, drawings, excerpts and files."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from harness.criteria import Outcome
from harness.evidence import RECORD, Relation, SeriesKind
from harness.facts import INFINITE
from harness.report import charts, excerpts, timeline
from harness.report import series as recorded
from harness.report.axis import Axis, axes
from harness.report.merge import read_record
from harness.report.story import anchor_of, sentence_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.report.charts import Chart
    from harness.report.excerpts import Excerpt
    from harness.report.model import CheckResult, TestResult
    from harness.report.series import Series
    from harness.report.timeline import Lane, MachineLog, TimedEvent

_SKEW_S = 1.0  # between the clocks of host and guest


@dataclass(frozen=True, slots=True)
class Gauge:
    """A failed quantity against its limit, in per cent of the width."""

    row: CheckResult
    seen: float
    limit: float


@dataclass(slots=True)
class View:
    """One test as the page shows it."""

    test: TestResult
    anchor: str
    sentence: str
    failed: list[CheckResult] = field(default_factory=list)
    held: list[CheckResult] = field(default_factory=list)
    gauges: list[Gauge] = field(default_factory=list)
    axes: list[Axis] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    excerpts: list[Excerpt] = field(default_factory=list)
    machine_files: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def bad(self) -> bool:
        """Whether it failed or is broken."""
        return self.test.outcome.bad


def view(test: TestResult, number: int, directory: Path) -> View:
    """Gather what the page shows of a test; what cannot be drawn is named instead."""
    found = View(test, anchor_of(test.nodeid, number), sentence_of(test))
    found.failed = [row for row in test.checks if not row.ok]
    found.held = [row for row in test.checks if row.ok]
    found.gauges = [g for row in found.failed if (g := gauge(row))]
    found.machine_files = {m: machine_files(directory, m) for m in test.machines}
    began = _began(test, directory)
    logs = {m: _log(directory, m, began) for m in test.machines}
    series = _load(test, directory, found.problems)
    try:
        found.axes = _axes(series, list(logs.values()))
        found.charts = _charts(series, test.checks)
    except Exception as error:  # noqa: BLE001 - a drawing must not cost the report
        found.problems.append(f"could not be drawn: {error!r}")
    if found.bad:
        at = _failed_at(test, began)
        for machine in test.machines:
            both = (
                excerpts.console(directory, machine),
                excerpts.journal(logs[machine], machine, at),
            )
            found.excerpts += [excerpt for excerpt in both if excerpt]
    return found


def gauge(row: CheckResult) -> Gauge | None:
    """Set a quantity against its limit; None where the check compares no numbers."""
    if row.relation not in {Relation.AT_MOST, Relation.AT_LEAST}:
        return None
    if not (row.budget or row.unit or row.expected_unit):
        return None  # a count: two against three is no drawing
    limit = row.expected
    seen = limit * 3 if row.seen == INFINITE and _number(limit) else row.seen
    if not _number(seen) or not _number(limit) or min(seen, limit) < 0:
        return None
    scale = 100 / (max(seen, limit) * 1.08 or 1)
    return Gauge(row, round(seen * scale, 2), round(limit * scale, 2))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def machine_files(directory: Path, machine: str) -> list[str]:
    """Name the files collected from a machine."""
    found = (directory / machine).glob("*")
    return sorted(path.name for path in found if path.is_file())


def _began(test: TestResult, directory: Path) -> float | None:
    """Say when a test began; its record knows it to the second in older reports."""
    if test.started is not None:
        return test.started
    records = [path for path in test.evidence if path.endswith(f"/{RECORD}")]
    try:
        said = read_record(directory / records[0])["started"]
        return datetime.fromisoformat(said).timestamp()
    except (IndexError, KeyError, ValueError, TypeError):
        return None


def _log(directory: Path, machine: str, began: float | None) -> MachineLog:
    since = began - _SKEW_S if began is not None else 0.0
    return timeline.read_machine(directory / machine, since)


def _failed_at(test: TestResult, began: float | None) -> float | None:
    """Say when the first failed check was recorded, in seconds since 1970."""
    failed = [row.at for row in test.checks if not row.ok]
    return began + failed[0] if began is not None and failed else None


def _load(test: TestResult, directory: Path, problems: list[str]) -> list[Series]:
    found: list[Series] = []
    for path in test.evidence:
        if not path.endswith(f"/{RECORD}"):
            continue
        folder = (directory / path).parent
        try:
            record = read_record(directory / path)
            found += [recorded.load(folder / s["path"]) for s in record["series"]]
        except Exception as error:  # noqa: BLE001 - a drawing must not cost the report
            problems.append(f"could not be drawn: {error!r}")
    return [series for series in found if series.points]


def _axes(series: Sequence[Series], logs: Sequence[MachineLog]) -> list[Axis]:
    """Draw the test's events on the clock; samples without a clock get axes apart."""
    events: list[TimedEvent] = [event for log in logs for event in log.events]
    lanes: list[Lane] = [lane for log in logs for lane in timeline.machine_lanes(log)]
    apart: list[Axis] = []
    for one in series:
        if one.kind not in recorded.TIMED:
            continue
        origin = one.origin
        if origin is None and one.uptime is not None:
            origin = timeline.wall_of(one.uptime, logs)
        if origin is not None:
            marked = recorded.mark_lane(one, origin)
            if marked.marks and marked.name not in {lane.name for lane in lanes}:
                lanes.insert(0, marked)
                events += recorded.marked_events(one, origin)
            lanes += recorded.lanes(one, origin)
        elif one.kind is not SeriesKind.HEARTBEAT:
            own = [recorded.mark_lane(one, 0.0), *recorded.lanes(one, 0.0)]
            apart += axes([], own, clock=False)
    if not events:
        return apart
    return [*axes(events, lanes, clock=True), *apart]


def _charts(series: Sequence[Series], checks: Sequence[CheckResult]) -> list[Chart]:
    apart = {SeriesKind.ADDRESS, SeriesKind.DNS}
    drawn = [charts.draw(one, checks) for one in series if one.kind not in apart]
    return sorted(drawn, key=lambda chart: not chart.failed)


def ordered(views: Sequence[View]) -> list[View]:
    """Put failed tests first, then broken ones, then the others as they ran."""
    rank = {Outcome.FAILED: 0, Outcome.BROKEN: 1}
    return sorted(views, key=lambda v: rank.get(v.test.outcome, 2))
