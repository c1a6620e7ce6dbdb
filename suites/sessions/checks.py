"""What decides `switch-keeps-sessions`: lab and its sessions before and after."""

from collections.abc import Iterator

from harness import (
    TALKER,
    Budgets,
    Check,
    Echo,
    LabState,
    Quantity,
    Rebuild,
    absent,
    at_least,
    at_most,
    differs_from,
    heartbeat_complete,
    heartbeat_uninterrupted,
    present,
    sessions_unchanged,
)
from suites.sessions.observing import Observation


def keeps_sessions(
    first: LabState, seen: Observation, budgets: Budgets
) -> Iterator[Check]:
    """Hold the sessions to the same processes, terminals and server, and to life."""
    lab, during = seen.lab, seen.event
    # The first check that fails becomes the reason in the report.
    kept = {n: one for n, one in lab.sessions.items() if n in first.sessions}
    yield sessions_unchanged(
        first.sessions, kept, during=during, KillMode_before=first.kill_mode
    )
    yield Check(
        "the tmux server process is unchanged",
        lab.server,
        first.server,
        of="tmux server",
        during=during,
        tmux_error=lab.tmux_error or None,
    )
    yield Check(
        "exactly one tmux server listens",
        len(lab.sockets),
        1,
        of="number of sockets",
        during=during,
        sockets=lab.sockets,
    )
    if first.manager:
        # The containers that sessions start are its scopes, and end with it.
        yield Check(
            "the systemd user manager of lab's user is unchanged",
            lab.manager,
            first.manager,
            of="user manager",
            during=during,
        )
    for session in seen.hearts:
        yield from beats(session, seen, budgets)
    yield answers("a session answers typed input", seen.typed, during)
    yield answers("a tmux client can attach and run a command", seen.attached, during)


def beats(session: str, seen: Observation, budgets: Budgets) -> Iterator[Check]:
    """Hold a heartbeat to all of its numbers, and to its gaps since the event began."""
    heart, during = seen.hearts[session], seen.event
    yield heartbeat_complete(session, heart, during=during)
    recent = heart.since(seen.since)
    yield heartbeat_uninterrupted(session, recent, budgets, during=during)


def answers(name: str, echo: Echo, during: str) -> Check:
    """Hold a session to repeat a typed line, which the terminal alone shows once."""
    return Check(
        name,
        echo.screen.count(echo.nonce),
        at_least(2),
        of="number of times that the typed word is on the screen",
        during=during,
        session=TALKER,
        typed=echo.nonce,
        screen=echo.screen,
    )


def lab_recovers(before: LabState, after: LabState, during: str) -> Iterator[Check]:
    """Hold lab to run again after its restart, with its sessions inside its cgroup."""
    yield unit_active(after, during)
    yield Check(
        "lab's page answers with HTTP status 200",
        after.status,
        200,
        of="HTTP status",
        during=during,
    )
    yield Check(
        "lab has sessions",
        sorted(after.sessions),
        present(),
        of="sessions",
        during=during,
    )
    yield Check(
        "lab's page lists every live session",
        after.unlisted,
        absent(),
        of="live sessions that are not listed",
        during=during,
    )
    yield Check(
        "sessions and their tmux server run in lab's cgroup",
        after.strays,
        absent(),
        of="processes outside",
        during=during,
        cgroup=after.control_group,
    )
    # With survivors in the cgroup the next start of lab would fail with EBUSY.
    yield Check(
        "lab's cgroup delegates no controllers",
        after.subtree_control,
        "",
        of="cgroup.subtree_control",
        during=during,
    )
    yield not_restarted_by_systemd(before, after, during)


def unit_active(lab: LabState, during: str) -> Check:
    """Hold lab's unit to be active."""
    return Check(
        "lab's unit is active",
        lab.active_state,
        "active",
        of="ActiveState",
        during=during,
    )


def not_restarted_by_systemd(before: LabState, after: LabState, during: str) -> Check:
    """Hold lab to never have failed: `Restart=` would hide that."""
    return Check(
        "systemd does not restart lab automatically",
        after.n_restarts,
        before.n_restarts,
        of="NRestarts",
        during=during,
    )


def lab_untouched(first: LabState, after: LabState, during: str) -> Check:
    """Hold a switch that changes other units to leave lab alone."""
    return Check(
        "lab is not restarted",
        after.main_pid,
        first.main_pid,
        of="MainPID",
        during=during,
    )


def outage_within_budget(seconds: float, port: int, budgets: Budgets) -> Check:
    """Hold lab's port to its outage, as a client on the LAN sees it."""
    return Check(
        "lab's outage is within budget",
        Quantity(seconds, "s"),
        at_most(budgets.switch_lab_outage_s),
        of=f"longest outage of TCP port {port}",
        during="two switches and a rollback",
    )


def switches_from_a_session(rebuilt: Rebuild, cgroup: str) -> Check:
    """Hold a switch that restarts the unit it runs in to finish all the same."""
    return Check(
        "nixos-rebuild succeeds from inside a session",
        rebuilt.rc,
        0,
        of="exit status",
        cgroup=cgroup,
        output=rebuilt.output,
    )


def old_kill_mode_decides(before: LabState, after: LabState) -> Iterator[Check]:
    """Hold a stop to the old definition's KillMode=control-group, as NixOS does.

    Where sessions survive, the guest stops units with their new definition.
    """
    during = "switch from KillMode=control-group to process"
    yield Check(
        "a stop with KillMode=control-group ends the sessions",
        {
            name: one
            for name, one in after.sessions.items()
            if (was := before.sessions.get(name)) and was.identity == one.identity
        },
        absent(),
        of="survivors",
        during=during,
        sessions_before=sorted(before.sessions),
    )
    yield Check(
        "the switch restarts lab",
        after.main_pid,
        differs_from(before.main_pid),
        of="MainPID",
        during=during,
    )
    yield Check(
        "lab's KillMode is process",
        after.kill_mode,
        "process",
        of="KillMode",
        during=during,
    )
