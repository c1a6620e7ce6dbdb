"""Checks of live sessions: each way to lose one fails the check that is about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.fleet import Budgets
from harness.guest.heartbeat import Beat, Heartbeat
from harness.guest.lab import Session
from harness.guest.proc import Process
from harness.liveness import (
    heartbeat_complete,
    heartbeat_uninterrupted,
    sessions_unchanged,
)

BUDGETS = Budgets()
STEADY = Heartbeat(tuple(Beat(n, n / 10, 7) for n in range(20)), 2.0)
PROCESS = Process(601, 1400, "bash", "S", None, "/system.slice/lab.service")
ALPHA = Session("alpha", 601, "/dev/pts/0", False, 1763900001, PROCESS)


def test_a_live_session_holds_all_checks() -> None:
    """A state that changes as a live process's does is no change."""
    asleep = replace(ALPHA, process=replace(PROCESS, state="R"))
    before, after = {"alpha": ALPHA}, {"alpha": asleep}
    assert sessions_unchanged(before, after, during="later").held
    assert heartbeat_complete("alpha", STEADY, during="later").held
    assert heartbeat_uninterrupted("alpha", STEADY, BUDGETS, during="later").held


@pytest.mark.parametrize(
    "after",
    [
        {},
        {"alpha": replace(ALPHA, pid=602)},
        {"alpha": replace(ALPHA, pty="/dev/pts/1")},
        {"alpha": replace(ALPHA, process=replace(PROCESS, start=1401))},
        {"alpha": replace(ALPHA, process=None)},
        {"alpha": ALPHA, "beta": ALPHA},
    ],
)
def test_another_process_is_another_session(after: dict[str, Session]) -> None:
    """PID, start time and terminal all count; what is gone or new does too."""
    check = sessions_unchanged({"alpha": ALPHA}, after, during="after a switch")
    assert not check.held
    assert "alpha (PID 601, started at tick 1400, terminal /dev/pts/0)" in str(check)


@pytest.mark.parametrize(
    "beats",
    [
        (),
        (*STEADY.beats, Beat(25, 2.0, 7)),
        (*STEADY.beats, Beat(0, 2.0, 7)),
        (*STEADY.beats, Beat(20, 2.0, 8)),
    ],
    ids=["none", "missing", "repeated", "another-writer"],
)
def test_a_number_has_to_be_written_once(beats: tuple[Beat, ...]) -> None:
    """A counter that another process continues is no survivor."""
    assert not heartbeat_complete("alpha", Heartbeat(beats, 2.1), during="x").held


@pytest.mark.parametrize(
    "heart",
    [Heartbeat((), 2.0), replace(STEADY, now=4.92), STEADY.until(0.5)],
    ids=["no-beat", "silent-until-now", "just-within"],
)
def test_silence_counts_until_now(heart: Heartbeat) -> None:
    """A session that died does not look like one that never paused."""
    check = heartbeat_uninterrupted("alpha", heart, BUDGETS, during="x")
    assert check.held is (heart.now < 1)
