"""The time axis: what journal, QMP log and samples say of an event."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from harness.evidence import SeriesKind
from harness.report import series as recorded
from harness.report.axis import axes
from harness.report.series import Series, intervals
from harness.report.timeline import (
    Bar,
    Lane,
    TimedEvent,
    machine_lanes,
    read_machine,
    wall_of,
)

if TYPE_CHECKING:
    from pathlib import Path

NOON = 1_795_867_200.0
JOB = "acceptance-rebuild-switch.service"
SAMPLES = st.lists(
    st.tuples(st.integers(0, 1000), st.sampled_from((0.0, 1.0)), st.just("ping")),
    min_size=1,
    unique_by=lambda sample: sample[0],
)


def entry(at: float, unit: str, message: object, boot: str = "one") -> str:
    """Write a journal entry, `at` seconds after noon and after 100 s of uptime."""
    return json.dumps(
        {
            "__REALTIME_TIMESTAMP": str(int((NOON + at) * 1e6)),
            "__MONOTONIC_TIMESTAMP": str(int((100 + at) * 1e6)),
            "_BOOT_ID": boot,
            "UNIT": unit,
            "MESSAGE": message,
        }
    )


def switched(directory: Path) -> Path:
    """Lay out the records of a machine that a switch restarted lab on."""
    machine = directory / "dev@switch"
    machine.mkdir()
    lines = [
        entry(-50, "lab.service", "Stopping lab.service - before the test..."),
        entry(3, JOB, "Started acceptance-rebuild-switch.service - job."),
        entry(9, "lab.service", "Stopping lab.service - lab..."),
        entry(9, "nix-gc.timer", "Stopped nix-gc.timer."),
        entry(38, "lab.service", "Started lab.service - lab."),
        entry(44, JOB, "acceptance-rebuild-switch.service: Deactivated successfully."),
        "{torn",
        entry(45, "x.service", [104, 105, 300, None]),
    ]
    (machine / "journal.json").write_text("\n".join(lines))
    qmp = [
        {"at": NOON + 20, "in": {"event": "RESET"}},
        {"at": NOON - 20, "in": {"event": "RESET"}},
        {"at": NOON + 1, "out": {"execute": "cont"}},
        [],
    ]
    (machine / "qmp.jsonl").write_text("\n".join(map(json.dumps, qmp)))
    return machine


def test_an_event_has_a_sentence_and_lanes(tmp_path: Path) -> None:
    """The switch, lab's outage and a heartbeat are on one axis, in words too."""
    log = read_machine(switched(tmp_path), NOON)
    beats = tuple((n / 2, 500.0, "alpha") for n in range(1, 80))
    heart = Series(
        "heartbeat of alpha, switch", SeriesKind.HEARTBEAT, beats, 1000, uptime=103
    )
    origin = wall_of(103, [log])
    assert origin == NOON + 3
    lanes = [*machine_lanes(log), *recorded.lanes(heart, origin)]
    (axis,) = axes(log.events, lanes, clock=True)
    assert axis.title == "switch"
    assert axis.sentence == (
        "12:00:03 switch began, :09 lab stopped, :20 machine reset, :38 lab started,"
        " :44 switch ended, heartbeat of alpha unbroken"
    )
    assert {row.name for row in axis.rows} == {
        "dev",
        "lab.service",
        "heartbeat of alpha",
    }
    assert [row.note for row in axis.rows if row.bad] == ["29.00 s"]
    for row in axis.rows:
        assert all(0 <= p.left <= p.left + p.width <= 100.1 for p in row.pieces)


def test_a_row_of_cycles_shares_an_axis() -> None:
    """Few events have an axis each, and what happens at the next is not on it."""
    done = [
        TimedEvent(NOON + 20 * n, NOON + 20 * n + 15, ("switch", "collection")[n % 2])
        for n in range(9)
    ]
    bars = tuple(Bar(e.start, e.end, good=True, text=e.text) for e in done)
    (axis,) = axes(done, [Lane("dev", bars)], clock=True)
    assert axis.title == "5 times switch, 4 times collection"
    few = axes(done[:3], [Lane("dev", bars[:3])], clock=True)
    assert [axis.title for axis in few] == ["switch", "collection", "switch"]
    assert "collection ended" not in few[0].sentence


def test_an_axis_without_a_clock_counts_from_zero() -> None:
    """Samples of older reports have no time of day."""
    (axis,) = axes([], [Lane("x", (Bar(0.37, 98.2, good=True),))], clock=False)
    assert axis.ticks[0] == (0.0, "0 s")
    assert axis.sentence == ""


def test_a_heartbeat_breaks_where_its_gap_exceeds_the_budget() -> None:
    """A gap over the budget is a stretch of its own."""
    beats = ((1.0, 500.0, "a"), (36.0, 35_000.0, "a"), (36.5, 500.0, "a"))
    (lane,) = recorded.lanes(
        Series("heartbeat of a, x", SeriesKind.HEARTBEAT, beats, 1000), NOON
    )
    assert [bar.good for bar in lane.bars] == [True, False, True]
    assert lane.bars[1] == Bar(NOON + 1, NOON + 36, good=False)


def test_a_reboot_is_an_event_and_stops_no_service(tmp_path: Path) -> None:
    """What a reboot stops is not shown as stopped by itself."""
    machine = tmp_path / "dev@x"
    machine.mkdir()
    lines = [
        entry(1, "lab.service", "Stopping lab.service..."),
        entry(2, "init.scope", "Shutting down."),
        entry(30, "init.scope", "Linux version", boot="two"),
        entry(40, "lab.service", "Started lab.service.", boot="two"),
    ]
    (machine / "journal.json").write_text("\n".join(lines))
    log = read_machine(machine, NOON)
    assert [(e.text, e.start, e.end) for e in log.events] == [
        ("reboot", NOON + 2, NOON + 30)
    ]
    assert [lane.name for lane in machine_lanes(log)] == ["dev"]


def test_records_that_are_missing_or_foreign_give_nothing(tmp_path: Path) -> None:
    """No record must cost the report."""
    machine = tmp_path / "dev@x"
    machine.mkdir()
    (machine / "journal.json").write_bytes(b"\xff\x00[1]\n3\n{}\nnull\n")
    (machine / "qmp.jsonl").write_text('{"in": 3}\n{"in": {"event": []}}\n')
    log = read_machine(machine, 0.0)
    assert (log.entries, log.events) == ((), ())
    assert axes([], machine_lanes(log), clock=True) == []


def test_intervals_join_what_is_the_same() -> None:
    """Neighbouring samples that agree become one stretch."""
    samples = [(0, 1, "a"), (1, 1, "a"), (2, 0, "b"), (3, 1, "a"), (4, 1, "a")]
    assert intervals(samples, by_label=True) == [
        Bar(0, 2, good=True, text="a"),
        Bar(2, 3, good=False, text="b"),
        Bar(3, 4, good=True, text="a", ended=False),
    ]


@given(SAMPLES)
def test_intervals_cover_the_time_once(samples: list[tuple[float, float, str]]) -> None:
    """Stretches follow each other without gap, alternate, and span all samples."""
    found = intervals(samples, by_label=False)
    times = [x for x, _, _ in samples]
    assert (found[0].start, found[-1].end) == (min(times), max(times))
    for before, after in pairwise(found):
        assert before.end == after.start
        assert before.good != after.good
