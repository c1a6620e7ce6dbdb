"""Lay out measured series as charts whose axes fit the data.

A chart measures nothing itself: the number in its caption is that of the check that
judged the series, so that the two cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from harness.evidence import SeriesKind
from harness.facts import with_unit
from harness.report.ticks import nice_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.model import CheckResult
    from harness.report.series import Series

WIDTH, HEIGHT = 1000, 300  # of the drawing's own coordinates
_FEW = 60  # points that can be seen as dots
_MOST_POINTS = 400  # per line: beyond that the eye sees no more, the page only grows
_NEAR = 2.5  # a budget so many times the data's range away is drawn as a line
_AXES = {
    SeriesKind.HEARTBEAT: ("s since the event", "gap, ms"),
    SeriesKind.INODES: ("switch + GC cycle", "inodes in use"),
}


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart, as SVG path data; `dots` has its points, where few."""

    label: str
    path: str
    dots: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, placed: ticks and budget in per cent from the left or from the top."""

    title: str
    caption: str
    failed: bool
    curves: tuple[Curve, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    x_label: str
    y_label: str
    budget: float | None
    budget_note: str
    description: str


@dataclass(frozen=True, slots=True)
class _Frame:
    """The ranges of both axes."""

    left: float
    right: float
    bottom: float
    top: float

    def x(self, value: float) -> float:
        return round((value - self.left) / (self.right - self.left) * WIDTH, 1)

    def y(self, value: float) -> float:
        return round((self.top - value) / (self.top - self.bottom) * HEIGHT, 1)


def draw(series: Series, checks: Sequence[CheckResult]) -> Chart:
    """Lay out one series; `checks` are those of its test."""
    judged = judge_of(series, checks)
    lines = series.by_label()
    fitted = _fit(series, lines, judged)
    frame = _frame(series, fitted)
    near = series.budget is not None and frame.bottom <= series.budget <= frame.top
    x_label, y_label = _AXES.get(series.kind, ("", ""))
    x_ticks = nice_ticks(frame.left, frame.right, 5)
    y_ticks = nice_ticks(frame.bottom, frame.top, 4)
    curves = [_curve(label, points, frame) for label, points in lines.items()]
    if fitted:
        path = "M" + "L".join(f"{frame.x(x)} {frame.y(y)}" for x, y in fitted[1])
        curves.append(Curve(fitted[0], path, ""))
    return Chart(
        title=series.name,
        caption=f"{judged.name}: {_seen(judged)}" if judged else "",
        failed=judged is not None and not judged.ok,
        curves=tuple(curves),
        x_ticks=tuple((frame.x(t) / WIDTH * 100, f"{t:g}") for t in x_ticks),
        y_ticks=tuple((frame.y(t) / HEIGHT * 100, _number(t)) for t in y_ticks),
        x_label=x_label,
        y_label=y_label,
        budget=frame.y(series.budget or 0.0) / HEIGHT * 100 if near else None,
        budget_note=_budget_note(series, frame),
        description=_describe(series),
    )


def judge_of(series: Series, checks: Sequence[CheckResult]) -> CheckResult | None:
    """Find the check that judged a series: by name, by event and, of several, by text.

    Checks of several heartbeats have one name and one event; they come in the order of
    the series, so that the maximum of its points tells them apart.
    """
    found = [
        c for c in checks if c.name == series.judged_by and c.during == series.during
    ]
    if series.kind is SeriesKind.HEARTBEAT and series.points and found:
        worst = max(y for _, y, _ in series.points)
        numbers = [c for c in found if isinstance(c.seen, int | float)]
        return min(numbers, key=lambda c: abs(c.seen - worst), default=None)
    return found[0] if found else None


def _seen(row: CheckResult) -> str:
    return row.check.observation if row.check else row.reason


def _fit(
    series: Series,
    lines: dict[str, list[tuple[float, float]]],
    judged: CheckResult | None,
) -> tuple[str, list[tuple[float, float]]] | None:
    """Draw the growth that the check states, through the middle of its points.

    A line by least squares always passes there. The first line of an inodes series has
    the points that the check fitted.
    """
    if series.kind is not SeriesKind.INODES or judged is None or not lines:
        return None
    points = next(iter(lines.values()))
    if not isinstance(judged.seen, int | float) or len(points) <= 1:
        return None
    x0, y0 = fmean(x for x, _ in points), fmean(y for _, y in points)
    ends = [points[0][0], points[-1][0]]
    label = f"growth {with_unit(judged.seen, judged.unit)} per cycle"
    return label, [(x, y0 + judged.seen * (x - x0)) for x in ends]


def _frame(
    series: Series, fitted: tuple[str, list[tuple[float, float]]] | None
) -> _Frame:
    xs = [x for x, _, _ in series.points]
    ys = [y for _, y, _ in series.points] + [
        y for _, y in (fitted[1] if fitted else [])
    ]
    low, high = min(ys), max(ys)
    if series.kind is SeriesKind.HEARTBEAT:
        low = 0.0
    span = (high - low) or abs(high) or 1.0
    budget = series.budget
    if budget is not None and low - span * _NEAR <= budget <= high + span * _NEAR:
        low, high = min(low, budget), max(high, budget)
        span = high - low
    bottom = 0.0 if low == 0 else low - span * 0.06
    left, right = min(xs), max(xs)
    return _Frame(left, right if right > left else left + 1, bottom, high + span * 0.06)


def _curve(label: str, points: list[tuple[float, float]], frame: _Frame) -> Curve:
    placed = [f"{frame.x(x)} {frame.y(y)}" for x, y in thin(points)]
    few = len(points) <= _FEW
    dots = "".join(f"M{p}h0" for p in placed) if few else ""
    return Curve(label, "M" + "L".join(placed), dots)


def thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep the lowest and the highest point of each stretch, where there are many."""
    if len(points) <= _MOST_POINTS:
        return points
    size = -(-len(points) // (_MOST_POINTS // 2))
    kept = []
    for begin in range(0, len(points), size):
        part = points[begin : begin + size]
        ends = {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
        kept += sorted(ends)
    return kept


def _budget_note(series: Series, frame: _Frame) -> str:
    if series.budget is None:
        return ""
    words = f"budget {_number(series.budget)}"
    if series.budget > frame.top:
        return f"{words}, above this axis"
    return f"{words}, below this axis" if series.budget < frame.bottom else words


def _describe(series: Series) -> str:
    ys = [y for _, y, _ in series.points]
    return f"{len(ys)} values from {_number(min(ys))} to {_number(max(ys))}"


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 1000 else f"{value:g}"  # noqa: PLR2004 - digits
