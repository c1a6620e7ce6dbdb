"""Checks of live sessions that several suites use: their processes and heartbeats.

Pure functions of what the lab view observed before, during and after an event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.evidence import Check, at_most
from harness.facts import Quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.fleet import Budgets
    from harness.guest.heartbeat import Heartbeat
    from harness.guest.lab import Session


def sessions_unchanged(
    before: Mapping[str, Session],
    after: Mapping[str, Session],
    *,
    during: str,
    **facts: object,
) -> Check:
    """Hold sessions to the same process, by PID and start time, and terminal.

    A session that is new in `after` fails the check too: leave it out of `after` where
    it may be.
    """
    return Check(
        "session processes and terminals are unchanged",
        after,
        before,
        of="sessions",
        during=during,
        **facts,
    )


def heartbeat_complete(session: str, heart: Heartbeat, *, during: str) -> Check:
    """Hold one process to having written every number of a heartbeat once."""
    return Check(
        "every heartbeat number is written once, by one process",
        {
            "missing": heart.missing,
            "repeated": heart.repeated,
            "number of writers": len(heart.pids),
        },
        {"missing": (), "repeated": (), "number of writers": 1},
        of=f"heartbeat of {session}",
        during=during,
        written_by_PID=heart.pids,
    )


def heartbeat_uninterrupted(
    session: str, heart: Heartbeat, budgets: Budgets, *, during: str
) -> Check:
    """Hold a heartbeat's longest silence, the one until now included, to its budget."""
    return Check(
        "session heartbeats are uninterrupted",
        Quantity(heart.longest_gap_ms, "ms"),
        at_most(budgets.heartbeat_gap_ms),
        of=f"longest gap of {session}",
        during=during,
    )
