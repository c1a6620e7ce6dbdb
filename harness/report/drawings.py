"""Draw measured series as SVG that goes inside the page.

Text and axes take the page's own colour, so that one drawing serves light, dark and
paper. The same points give the same bytes.
"""

from __future__ import annotations

import io
import json
import re
import warnings
from dataclasses import dataclass
from itertools import groupby
from statistics import linear_regression
from typing import TYPE_CHECKING, Any

from harness.evidence import SeriesKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK = "#010203"  # stands for the page's text colour until the SVG is finished
_GOOD, _BAD = "#2f9e6e", "#d64550"
_LINES = ("#3b82c4", "#d98a1f", "#8a63c9", "#2f9e6e", "#c4578f")
_FEW = 60  # points that can be told apart as dots
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": ["sans-serif"],
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "path.simplify": True,
}


@dataclass(frozen=True, slots=True)
class Chart:
    """A recorded series, as `Recorder.series` wrote it."""

    name: str
    kind: SeriesKind
    points: tuple[tuple[float, float, str], ...]
    budget: float | None
    events: Mapping[str, float]

    def by_label(self) -> dict[str, list[tuple[float, float]]]:
        """Sort the points by label, in order of first appearance."""
        lines: dict[str, list[tuple[float, float]]] = {}
        for x, y, label in self.points:
            lines.setdefault(label, []).append((x, y))
        return lines


@dataclass(frozen=True, slots=True)
class Drawing:
    """A caption and an SVG element."""

    caption: str
    svg: str


def load(path: Path) -> Chart:
    """Read a recorded series."""
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Chart(
        data["name"],
        SeriesKind(data["kind"]),
        tuple((x, y, label) for x, y, label in data["points"]),
        data["budget"],
        data["events"],
    )


def draw_all(series: Sequence[Chart]) -> list[Drawing]:
    """Draw the series of one test; address and DNS share one timeline."""
    timeline = [s for s in series if s.kind in {SeriesKind.ADDRESS, SeriesKind.DNS}]
    others = [s for s in series if s not in timeline]
    drawings = [_one(s) for s in others if s.points]
    if any(s.points for s in timeline):
        drawings.insert(0, _draw_timeline(timeline))
    return drawings


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of time over which every sample said the same."""

    start: float
    end: float
    good: bool
    label: str


def intervals(
    points: Sequence[tuple[float, float, str]], *, by_label: bool
) -> list[Interval]:
    """Join samples that say the same; each lasts until the next one.

    `by_label` also parts them where the label (a DNS answer) changes.
    """
    ordered = sorted(points, key=lambda p: p[0])
    ends = [p[0] for p in ordered[1:]] + [ordered[-1][0]]
    told = [
        ((y > 0, label if by_label else ""), x, end)
        for (x, y, label), end in zip(ordered, ends, strict=True)
    ]
    joined = []
    for (good, label), run in groupby(told, key=lambda t: t[0]):
        stretch = list(run)
        joined.append(Interval(stretch[0][1], stretch[-1][2], good, label))
    return joined


def _one(series: Chart) -> Drawing:
    return _render(series.name, 2.8, series, _PAINTERS.get(series.kind, _paint_plot))


def _draw_timeline(timeline: Sequence[Chart]) -> Drawing:
    rows = []
    for series in timeline:
        if series.kind is SeriesKind.DNS:
            rows.append((series.name, intervals(series.points, by_label=True)))
            continue
        for label in series.by_label():
            chosen = [p for p in series.points if p[2] == label]
            rows.append((label or series.name, intervals(chosen, by_label=False)))
    events = {k: v for s in timeline for k, v in s.events.items()}

    def paint(axes: Axes, _series: Chart) -> None:
        _paint_rows(axes, rows)
        _mark(axes, events)

    caption = "seen from the LAN: " + ", ".join(s.name for s in timeline)
    return _render(caption, 1.1 + 0.36 * len(rows), timeline[0], paint)


def _paint_rows(axes: Axes, rows: Sequence[tuple[str, list[Interval]]]) -> None:
    for height, (_, stretches) in enumerate(reversed(rows)):
        told = ""  # the right answer is written once, not after every wrong one
        for stretch in stretches:
            width = max(stretch.end - stretch.start, 0.001)
            colour = _GOOD if stretch.good else _BAD
            # Not by colour alone: what is down also stands out of its row.
            size = 0.4 if stretch.good else 0.7
            axes.barh(height, width, size, left=stretch.start, color=colour)
            text = "" if stretch.label == told else stretch.label
            if not stretch.good:
                text = f"{stretch.label} {width:.2f} s".strip()
            else:
                told = stretch.label
            if text:
                axes.text(stretch.start, height + 0.38, text, fontsize=7, clip_on=True)
    axes.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.1)
    axes.set_xlabel("seconds")


def _paint_heartbeat(axes: Axes, series: Chart) -> None:
    for (label, points), colour in zip(
        series.by_label().items(), _LINES * 9, strict=False
    ):
        xs, ys = zip(*points, strict=True)
        axes.vlines(xs, 0, ys, color=colour, linewidth=0.8, label=label)
    worst = max(series.points, key=lambda p: p[1])
    axes.annotate(
        f"longest gap {worst[1]:.0f} ms",
        worst[:2],
        xytext=(4, 3),
        textcoords="offset points",
        fontsize=8,
    )
    axes.set_xlabel("seconds in the session")
    axes.set_ylabel("gap to the beat before, ms")


def _paint_inodes(axes: Axes, series: Chart) -> None:
    for (label, points), colour in zip(
        series.by_label().items(), _LINES * 9, strict=False
    ):
        xs, ys = zip(*points, strict=True)
        # A line needs two points; a single one has no growth.
        growth, start = linear_regression(xs, ys) if len(set(xs)) > 1 else (0.0, ys[0])
        axes.plot(xs, ys, "o", color=colour, markersize=4)
        axes.plot(
            (xs[0], xs[-1]),
            (start + growth * xs[0], start + growth * xs[-1]),
            color=colour,
            linewidth=1,
            label=f"{label} {growth:+.1f} per cycle".strip(),
        )
    axes.set_xlabel("switch + GC cycle")
    axes.set_ylabel("inodes used")


def _paint_plot(axes: Axes, series: Chart) -> None:
    marker = "o" if len(series.points) <= _FEW else ""
    for (label, points), colour in zip(
        series.by_label().items(), _LINES * 9, strict=False
    ):
        xs, ys = zip(*points, strict=True)
        axes.plot(
            xs,
            ys,
            color=colour,
            linewidth=1,
            marker=marker,
            markersize=3,
            label=label,
        )


_PAINTERS: dict[SeriesKind, Callable[[Axes, Chart], None]] = {
    SeriesKind.HEARTBEAT: _paint_heartbeat,
    SeriesKind.INODES: _paint_inodes,
}


def _render(
    caption: str, height: float, series: Chart, paint: Callable[[Axes, Chart], None]
) -> Drawing:
    # Only needed here, and slow to import: a run draws once, at its end.
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with warnings.catch_warnings(), mpl.rc_context({**_RC, "svg.hashsalt": caption}):
        # A glyph or a layout that matplotlib grumbles about is no reason to fail.
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(9, height), layout="constrained")
        axes = figure.add_subplot()
        paint(axes, series)
        if series.kind not in {SeriesKind.ADDRESS, SeriesKind.DNS}:
            _limit(axes, series.budget)
            _mark(axes, series.events)
        if series.kind is SeriesKind.HEARTBEAT:
            axes.set_ylim(bottom=0)  # last: a fixed limit ends the automatic one
        if axes.get_legend_handles_labels()[0]:
            figure.legend(frameon=False, fontsize=8, loc="outside lower left", ncols=6)
        return Drawing(caption, _svg(figure))


def _limit(axes: Axes, budget: float | None) -> None:
    if budget is not None:
        axes.axhline(budget, color=_BAD, linewidth=1, linestyle="--", label="budget")


def _mark(axes: Axes, events: Mapping[str, float]) -> None:
    ordered = sorted(events.items(), key=lambda event: event[1])
    for count, (name, x) in enumerate(ordered):
        axes.axvline(x, color=_INK, linewidth=0.7, linestyle=":")
        axes.annotate(
            name,
            (x, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2 + 11 * (count % 2)),  # neighbours must not overlap
            textcoords="offset points",
            rotation=20,
            annotation_clip=False,  # it lies on the very edge
            fontsize=7,
        )


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return text.replace(_INK, "currentColor")
