"""Journals: whole lines only, in order, from any number of processes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from harness.plugin.live import JournalDisplay, render
from harness.report.journal import (
    Finished,
    Follower,
    Journal,
    ProgressLine,
    Started,
    read,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_events_of_all_processes_in_order(tmp_path: Path) -> None:
    """Events come back by time, each with its process."""
    for at, worker in ((3, "gw0"), (1, "gw1"), (2, "main")):
        Journal(tmp_path, worker).write(ProgressLine(text=worker, at=at))
    assert [(e.at, e.worker) for e in read(tmp_path)] == [
        (1, "gw1"),
        (2, "main"),
        (3, "gw0"),
    ]


def test_a_torn_line_waits_for_its_rest(tmp_path: Path) -> None:
    """Half a line is not read, and not lost."""
    whole = ProgressLine(text="x", at=1).model_dump_json().encode() + b"\n"
    path, follower = tmp_path / "gw0.jsonl", Follower(tmp_path)
    path.write_bytes(whole + whole[:9])
    assert len(follower.look()) == 1
    with path.open("ab") as file:
        file.write(whole[9:])
    assert len(follower.look()) == 1
    assert follower.look() == []


def test_lines_that_make_no_sense_are_passed_over(tmp_path: Path) -> None:
    """A line that a kill cut is ignored; the others are read."""
    good = ProgressLine(text="x", at=1).model_dump_json()
    (tmp_path / "gw0.jsonl").write_text(f'{{"eve\n{good}\n')
    assert len(read(tmp_path)) == 1


def test_following_prints_what_is_left_at_the_end(tmp_path: Path) -> None:
    """Nothing written before the end of `follow` is missing from the terminal."""
    out, journal = io.StringIO(), Journal(tmp_path, "gw0")
    with JournalDisplay(tmp_path, out).follow():
        journal.write(Started(nodeid="t", evidence="e"))
        journal.write(ProgressLine(text="building [image]"))
        journal.write(Finished(nodeid="t", outcome="broken", reason="why\nmore"))
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert "gw0  building [image]" in lines[0]
    assert lines[1].endswith("t  why")


def test_waiting_is_told(tmp_path: Path) -> None:
    """When nothing was said for long, the running tests are named."""
    out = io.StringIO()
    live = JournalDisplay(tmp_path, out)
    Journal(tmp_path, "gw0").write(Started(nodeid="suites/x.py::t", evidence="e"))
    live.show()
    live.remind()
    assert out.getvalue() == ""
    live.spoke -= 60
    live.remind()
    assert "… suites/x.py::t" in out.getvalue()


def test_most_events_are_no_news() -> None:
    """That a test began is not worth a line."""
    assert render(Started(nodeid="t", evidence="e"), 0.0) == ""
