"""`switch-keeps-sessions`: each change of what was observed fails its own check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness import Budgets, Echo, Heartbeat, LabState
from suites.sessions import checks
from suites.sessions.observing import Observation
from tests.suites.observed import LAB, SESSIONS, STEADY, failed, process, session

BUDGETS = Budgets()


ECHO = Echo("nonce1", "$ nonce1\nnonce1")
SEEN = Observation("switch 1", 100.0, LAB, {"alpha": STEADY}, ECHO, ECHO)


def lab(**changes: Any) -> LabState:
    """Change the healthy lab; unknown names are properties of its unit."""
    properties = {k: v for k, v in changes.items() if not hasattr(LAB, k)}
    fields = {k: v for k, v in changes.items() if hasattr(LAB, k)}
    return replace(LAB, properties={**LAB.properties, **properties}, **fields)


@pytest.mark.parametrize(
    ("after", "name"),
    [
        (lab(), None),
        (lab(MainPID="8", sessions={**SESSIONS, "new": session("new", 30)}), None),
        (lab(sessions={}), "session processes and terminals are unchanged"),
        (
            lab(sessions={**SESSIONS, "beta": session("beta", 30)}),
            "session processes and terminals are unchanged",
        ),
        (lab(server=process(12)), "the tmux server process is unchanged"),
        (lab(server=None), "the tmux server process is unchanged"),
        (lab(sockets=()), "exactly one tmux server listens"),
        (lab(sockets=("a", "b")), "exactly one tmux server listens"),
        (
            lab(manager=process(12)),
            "the systemd user manager of lab's user is unchanged",
        ),
        (lab(manager=None), "the systemd user manager of lab's user is unchanged"),
    ],
)
def test_what_sessions_live_in(after: LabState, name: str | None) -> None:
    """Processes, server, socket and user manager each have a check."""
    observed = replace(SEEN, lab=after)
    assert failed(checks.keeps_sessions(LAB, observed, BUDGETS)) == {name} - {None}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (
            {"hearts": {"alpha": STEADY.until(104.0)}},
            None,
        ),
        (
            {"hearts": {"alpha": replace(STEADY, now=113.0)}},
            "session heartbeats are uninterrupted",
        ),
        (
            {"hearts": {"alpha": Heartbeat(STEADY.beats[:500], 102.0)}},
            "session heartbeats are uninterrupted",
        ),
        (
            {"hearts": {"alpha": Heartbeat(STEADY.beats[:3] + STEADY.beats[4:], 110)}},
            "every heartbeat number is written once, by one process",
        ),
        ({"typed": Echo("nonce1", "nonce1")}, "a session answers typed input"),
        (
            {"attached": Echo("nonce1", "open terminal failed")},
            "a tmux client can attach and run a command",
        ),
    ],
)
def test_what_sessions_do(change: dict[str, Any], name: str | None) -> None:
    """A gap counts from the event on, a missing number at any time."""
    observed = replace(SEEN, **change)
    assert failed(checks.keeps_sessions(LAB, observed, BUDGETS)) == {name} - {None}


@pytest.mark.parametrize(
    ("after", "name"),
    [
        (lab(MainPID="8"), None),
        (lab(ActiveState="failed"), "lab's unit is active"),
        (lab(status=None), "lab's page answers with HTTP status 200"),
        (lab(sessions={}), "lab has sessions"),
        (lab(page="alpha"), "lab's page lists every live session"),
        (
            lab(sessions={"alpha": session("alpha", 20, "/user.slice")}),
            "sessions and their tmux server run in lab's cgroup",
        ),
        (lab(subtree_control="memory"), "lab's cgroup delegates no controllers"),
        (lab(NRestarts="2"), "systemd does not restart lab automatically"),
    ],
)
def test_what_lab_is_like_afterwards(after: LabState, name: str | None) -> None:
    """Each observable of lab has a check of its own."""
    assert failed(checks.lab_recovers(LAB, after, "switch 1")) == {name} - {None}


def test_the_old_kill_mode() -> None:
    """Survivors show that a guest stops units with their new definition."""
    names = {
        "a stop with KillMode=control-group ends the sessions",
        "the switch restarts lab",
    }
    assert failed(checks.old_kill_mode_decides(LAB, LAB)) == names
    killed = lab(MainPID="8", sessions={})
    assert failed(checks.old_kill_mode_decides(LAB, killed)) == set()
    kept = lab(MainPID="8", sessions={}, KillMode="control-group")
    assert failed(checks.old_kill_mode_decides(LAB, kept)) == {
        "lab's KillMode is process"
    }
