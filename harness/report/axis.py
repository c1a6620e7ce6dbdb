"""Time axes for the page: one for each event of a test, with a sentence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.report.ticks import nice_ticks
from harness.report.timeline import Lane, Mark, TimedEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BEFORE_S, _AFTER_S = 3.0, 6.0
_MOST_AXES = 12
_MOST_PIECES = 200  # of a lane: a probe that flaps must not fill the page
_FEW_NAMES = 2  # that fit next to a lane
_FEW_EVENTS = 4  # of more, those that follow closely share an axis
_MOST_WORDS = 16  # moments in a sentence
_SHORTEST = 0.35  # per cent of the width: a moment must be seen


@dataclass(frozen=True, slots=True)
class Piece:
    """A bar or a mark on a lane, placed in per cent of the width."""

    left: float
    width: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class AxisRow:
    """One lane, placed; `note` says what matters on it."""

    name: str
    pieces: tuple[Piece, ...]
    note: str
    bad: bool


@dataclass(frozen=True, slots=True)
class Axis:
    """One event with what was observed around it, `label` in words."""

    title: str
    sentence: str
    rows: tuple[AxisRow, ...]
    ticks: tuple[tuple[float, str], ...]


def axes(
    events: Iterable[TimedEvent], lanes: Sequence[Lane], *, clock: bool
) -> list[Axis]:
    """Draw one axis for each event that does not lie within another.

    `clock` says whether times are seconds since 1970; else they count from some zero.
    """
    first, last = _extent(lanes)
    if first == last:
        return []
    ordered = _outermost(events)
    if not ordered:
        return [_axis("", first, last, (), lanes, clock=clock)]
    if len(ordered) > _FEW_EVENTS:
        ordered = _joined(ordered)
    found = []
    before = first
    for event, following in zip(ordered, [*ordered[1:], None], strict=True):
        start = max(event.start - _BEFORE_S, min(before, event.start))
        before = event.end
        limit = following.start - 1 if following else last
        end = min(max(event.end + _AFTER_S, _settled(lanes, event, limit)), last)
        if following:  # what happens at the next event is on its own axis
            end = min(end, following.start)
        end = max(end, event.end, start + 1)
        mine = _within(events, start, end)
        found.append(_axis(event.text, start, end, mine, lanes, clock=clock))
    return found[:_MOST_AXES]


def _joined(events: Sequence[TimedEvent]) -> list[TimedEvent]:
    """Join events that follow each other closely: a row of cycles is one axis."""
    groups: list[list[TimedEvent]] = []
    for event in events:
        if groups and event.start - groups[-1][-1].end < _BEFORE_S + _AFTER_S:
            groups[-1].append(event)
        else:
            groups.append([event])
    return [TimedEvent(g[0].start, g[-1].end, _counted(g)) for g in groups]


def _counted(events: Sequence[TimedEvent]) -> str:
    counted = Counter(event.text for event in events)
    return ", ".join(
        f"{n} times {text}" if n > 1 else text for text, n in counted.items()
    )


def _settled(lanes: Sequence[Lane], event: TimedEvent, limit: float) -> float:
    """Say until when something was still wrong after an event."""
    ends = [
        bar.end
        for lane in lanes
        for bar in lane.bars
        if not bar.good and event.start <= bar.start < limit
    ]
    return max(ends, default=event.end) + _AFTER_S


def _outermost(events: Iterable[TimedEvent]) -> list[TimedEvent]:
    """Leave out events that begin while another lasts, or together with it."""
    kept: list[TimedEvent] = []
    for event in sorted(events, key=lambda e: (e.start, -e.end)):
        if not kept or event.start > max(kept[-1].end, kept[-1].start + 1):
            kept.append(event)
    return kept


def _within(
    events: Iterable[TimedEvent], start: float, end: float
) -> tuple[TimedEvent, ...]:
    return tuple(e for e in events if e.start <= end and e.end >= start)


def _extent(lanes: Sequence[Lane]) -> tuple[float, float]:
    times = [t for lane in lanes for bar in lane.bars for t in (bar.start, bar.end)]
    times += [mark.at for lane in lanes for mark in lane.marks]
    return (min(times), max(times)) if times else (0.0, 0.0)


def _axis(
    title: str,
    start: float,
    end: float,
    events: Sequence[TimedEvent],
    lanes: Sequence[Lane],
    *,
    clock: bool,
) -> Axis:
    rows = tuple(row for lane in lanes if (row := _row(lane, start, end)))
    zero = 0.0 if clock else start
    ticks = tuple(
        (_place(x + zero, start, end), _clock(x) if clock else f"{x:g} s")
        for x in nice_ticks(start - zero, end - zero, 5, whole=clock)
    )
    said = _sentence(events, lanes, start, end) if clock else ""
    return Axis(title, said, rows, ticks)


def _row(lane: Lane, start: float, end: float) -> AxisRow | None:
    pieces = []
    bad = [b for b in lane.bars if not b.good and b.start < end and b.end > start]
    for bar in lane.bars:
        if bar.start >= end or bar.end < start:
            continue
        left, right = max(bar.start, start), min(bar.end, end)
        width = max((right - left) / (end - start) * 100, _SHORTEST)
        text = f"{bar.text} {bar.end - bar.start:.2f} s".strip()
        place = min(_place(left, start, end), 100 - width)
        kind = "up" if bar.good else "down"
        pieces.append(Piece(round(place, 2), round(width, 2), kind, text))
    for mark in lane.marks:
        if start <= mark.at <= end:
            left = min(_place(mark.at, start, end), 100 - _SHORTEST)
            pieces.append(Piece(left, _SHORTEST, "mark", mark.text))
    if not pieces:
        return None
    pieces = sorted(pieces, key=lambda p: -p.width)[:_MOST_PIECES]
    return AxisRow(lane.name, tuple(pieces), _note(lane, start, end), bool(bad))


def _note(lane: Lane, start: float, end: float) -> str:
    """Say what was wrong on a lane, the longest first; else what was done."""
    seen = [b for b in lane.bars if b.start < end and b.end > start]
    wrong = [b for b in seen if not b.good]
    if wrong:
        worst = max(wrong, key=lambda b: b.end - b.start)
        count = f"{len(wrong)} times, longest " if wrong[1:] else ""
        what = f"{worst.text}: " if worst.text else ""
        return f"{what}{count}{worst.end - worst.start:.2f} s"
    named = [f"{b.text} {b.end - b.start:.1f} s" for b in seen if b.text]
    if len(named) == 1:
        return named[0] if len(seen) == 1 and lane.marks else named[0].split(" ")[0]
    if len(seen) == 1:
        return "unbroken"
    return ", ".join(dict.fromkeys(named)) if len(named) <= _FEW_NAMES else ""


def _sentence(
    events: Sequence[TimedEvent], lanes: Sequence[Lane], start: float, end: float
) -> str:
    moments = [Mark(e.start, f"{e.text} began") for e in events if e.end > e.start]
    moments += [Mark(e.start, e.text) for e in events if e.end == e.start]
    moments += [Mark(e.end, f"{e.text} ended") for e in events if e.end > e.start]
    unbroken = []
    for lane in lanes:
        seen = [b for b in lane.bars if b.start < end and b.end > start]
        down = [b for b in seen if not b.good and b.text != "reboot"]
        for bar in down[:2]:
            what = f"{lane.name} {bar.text}".strip()
            moments.append(Mark(bar.start, f"{what} stopped answering"))
            if bar.ended and bar.end < end:
                moments.append(Mark(bar.end, f"{what} back"))
        moments += [m for m in lane.marks if start <= m.at <= end]
        if seen and not down and not any(b.text for b in seen):
            unbroken.append(lane.name)
    kept = sorted((m for m in moments if start <= m.at <= end), key=lambda m: m.at)
    words, before = [], ""
    for moment in kept[:_MOST_WORDS]:
        stamp = _clock(moment.at)
        same = stamp[:5] == before[:5]
        words.append(f"{stamp[5:] if same else stamp} {moment.text}")
        before = stamp
    if kept[_MOST_WORDS:]:
        words.append(f"{len(kept) - _MOST_WORDS} more moments")
    if unbroken:
        words.append(f"{', '.join(unbroken[:6])} unbroken")
    return (
        ", ".join(words)
        .replace(".service stopped answering", " stopped")
        .replace(".service back", " started")
    )


def _place(x: float, start: float, end: float) -> float:
    return round((x - start) / (end - start) * 100, 2)


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"
