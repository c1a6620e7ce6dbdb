"""What a heartbeat proves, and what it gives away."""

from __future__ import annotations

import pytest

from harness.guest import heartbeat
from harness.guest.heartbeat import Beat, Heartbeat
from harness.guest.script import parse


def beats(*numbers: int, pid: int = 7, start: float = 0.0) -> tuple[Beat, ...]:
    """Beat every 0.1 s, with these numbers."""
    return tuple(Beat(n, start + i / 10, pid) for i, n in enumerate(numbers))


def test_an_unbroken_heartbeat() -> None:
    """Every number once, one writer, no pause longer than the period."""
    one = Heartbeat(beats(1, 2, 3, 4), now=0.35)
    assert one.unbroken
    assert one.longest_gap_ms == pytest.approx(100)


def test_a_missing_number_is_seen() -> None:
    """A number that was never written is named."""
    one = Heartbeat(beats(1, 2, 5, 6), now=0.4)
    assert one.missing == (3, 4)
    assert not one.unbroken


def test_a_restarted_session_is_seen() -> None:
    """A counter that restarts, or another writer, is another session."""
    again = beats(1, 2, 3) + beats(1, 2, pid=9, start=0.3)
    one = Heartbeat(again, now=0.5)
    assert one.repeated == (1,)
    assert one.pids == (7, 9)
    assert not one.unbroken
    assert not Heartbeat(beats(1, 2, 2, 3), now=0.5).unbroken


def test_a_stopped_session_is_seen() -> None:
    """A session that was stopped and continued has a gap, though nothing is missing."""
    one = Heartbeat(beats(1, 2) + beats(3, 4, start=5.0), now=5.2)
    assert one.unbroken
    assert one.longest_gap == (0.1, 5.0)
    assert one.longest_gap_ms == pytest.approx(4900)


def test_a_dead_session_is_seen() -> None:
    """The silence since the last beat counts; without any beat it is endless."""
    assert Heartbeat(beats(1, 2), now=30.1).longest_gap_ms == pytest.approx(30000)
    assert Heartbeat((), now=30.0).longest_gap_ms == float("inf")
    assert not Heartbeat((), now=30.0).unbroken
    assert Heartbeat((), now=30.0).missing == ()


def test_a_window_keeps_the_gap_that_reaches_into_it() -> None:
    """A silence that began before the window is not cut short by it."""
    one = Heartbeat(beats(1, 2) + beats(3, 4, start=5.0), now=5.2)
    assert one.since(4.9).longest_gap_ms == pytest.approx(4900)
    assert one.since(5.05).longest_gap_ms == pytest.approx(100)
    assert one.until(3.0).longest_gap_ms == pytest.approx(2900)


def test_half_a_line_is_no_beat() -> None:
    """What a crash left half-written is not taken for a beat."""
    text = "\x1ebeats\n1 10.25 7\n2 10.36 7\n3 10.\n\x1enow\n10.50\n\x1eend\n"
    read = heartbeat.parse(parse("heartbeats.sh", text))
    assert read == Heartbeat((Beat(1, 10.25, 7), Beat(2, 10.36, 7)), 10.5)
