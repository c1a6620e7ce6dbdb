"""Recorded series, and the lanes that their samples give."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from harness.evidence import SeriesKind
from harness.report.timeline import Bar, Lane, Mark, TimedEvent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TIMED = frozenset({SeriesKind.ADDRESS, SeriesKind.DNS, SeriesKind.HEARTBEAT})


@dataclass(frozen=True, slots=True)
class Series:
    """A recorded series, as `Recorder.series` wrote it.

    `judged_by` and `during` name the check whose number a drawing shows. x = 0 is
    `origin`, in seconds since 1970, or the guest's `uptime`.
    """

    name: str
    kind: SeriesKind
    points: tuple[tuple[float, float, str], ...]
    budget: float | None = None
    events: Mapping[str, float] = field(default_factory=dict)
    judged_by: str = ""
    during: str = ""
    origin: float | None = None
    uptime: float | None = None

    def by_label(self) -> dict[str, list[tuple[float, float]]]:
        """Sort the points by label, in order of first appearance."""
        lines: dict[str, list[tuple[float, float]]] = {}
        for x, y, label in self.points:
            lines.setdefault(label, []).append((x, y))
        return lines


def load(path: Path) -> Series:
    """Read a recorded series."""
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Series(
        data["name"],
        SeriesKind(data["kind"]),
        tuple((float(x), float(y), str(label)) for x, y, label in data["points"]),
        data["budget"],
        data["events"],
        data.get("judged_by", ""),
        data.get("during", ""),
        data.get("origin"),
        data.get("uptime"),
    )


def intervals(
    points: Sequence[tuple[float, float, str]], *, by_label: bool
) -> list[Bar]:
    """Join samples that say the same; each lasts until the next one.

    An outage so lasts from the first lost sample to the next answer, as its check
    measures it. `by_label` also parts them where the label (a DNS answer) changes.
    """
    ordered = sorted(points, key=lambda p: p[0])
    ends = [p[0] for p in ordered[1:]] + [ordered[-1][0]]
    keyed = [
        ((y > 0, label if by_label else ""), x, end)
        for (x, y, label), end in zip(ordered, ends, strict=True)
    ]
    joined = []
    for (good, label), run in groupby(keyed, key=lambda t: t[0]):
        stretch = list(run)
        joined.append(Bar(stretch[0][1], stretch[-1][2], good, label))
    return [*joined[:-1], replace(joined[-1], ended=False)]


def lanes(series: Series, origin: float) -> list[Lane]:
    """Lay a series out in time; x = 0 is at `origin`."""
    if not series.points:
        return []
    if series.kind is SeriesKind.HEARTBEAT:
        return [_moved(_beating(series), origin)]
    if series.kind is SeriesKind.DNS:
        name = series.name.partition(",")[0]
        return [
            _moved(Lane(name, tuple(intervals(series.points, by_label=True))), origin)
        ]
    address = series.name.partition(",")[0].removeprefix("address ")
    found = []
    for label in series.by_label():
        chosen = [p for p in series.points if p[2] == label]
        bars = tuple(intervals(chosen, by_label=False))
        found.append(_moved(Lane(f"{address} {label}".strip(), bars), origin))
    return found


def marked_events(series: Series, origin: float) -> list[TimedEvent]:
    """Give what a series marks as one event, from the first mark to the last."""
    if not series.events:
        return []
    times = [origin + x for x in series.events.values()]
    return [TimedEvent(min(times), max(times), title_of(series))]


def mark_lane(series: Series, origin: float) -> Lane:
    """Give the marks of a series as a lane of their own."""
    marks = [Mark(origin + x, name) for name, x in series.events.items()]
    return Lane(title_of(series), marks=tuple(marks))


def title_of(series: Series) -> str:
    """Name what a series was measured at: the part after the comma of its name."""
    return series.name.partition(", ")[2] or series.name


def _beating(series: Series) -> Lane:
    """Give a heartbeat as one stretch, broken where a gap exceeds the budget."""
    limit = series.budget if series.budget is not None else float("inf")
    stretches = [
        (x - gap / 1000, x, gap <= limit) for x, gap, _ in sorted(series.points)
    ]
    bars = []
    for good, run in groupby(stretches, key=lambda s: s[2]):
        part = list(run)
        bars.append(Bar(part[0][0], part[-1][1], good))
    bars[-1] = replace(bars[-1], ended=False)
    return Lane(series.name.partition(",")[0], tuple(bars))


def _moved(lane: Lane, by: float) -> Lane:
    bars = tuple(replace(b, start=b.start + by, end=b.end + by) for b in lane.bars)
    return Lane(lane.name, bars)
