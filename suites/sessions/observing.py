"""Observing lab: with live sessions before an event, and after the event."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from harness import (
    HEARTBEATS,
    TALKER,
    Budgets,
    Echo,
    GuestFailure,
    Heartbeat,
    LabState,
    Machine,
    NotExercised,
    Rebuild,
    Recorder,
    poll,
)

# Takes the place of the containers that lab runs for its sessions, outside its cgroup.
PAYLOAD = "payload"


@dataclass(frozen=True, slots=True)
class Observation:
    """Lab and its sessions after an event that began at uptime `since`, in seconds.

    `hearts` has a heartbeat by the name of who writes it, `typed` the screen of a
    session after a word was typed into it, `attached` that of a tmux client.
    """

    event: str
    since: float
    lab: LabState
    hearts: Mapping[str, Heartbeat]
    typed: Echo
    attached: Echo


def live_lab(dev: Machine, check: Recorder) -> LabState:
    """Observe a healthy lab with live sessions, and start the payload.

    Raises NotExercised.
    """
    lab = dev.lab.state()
    alive = {name for name, one in lab.sessions.items() if not one.dead}
    if not lab.healthy or lab.server is None or not {*HEARTBEATS, TALKER} <= alive:
        raise NotExercised(
            "lab to be healthy with its sessions before the event",
            seen={
                "ActiveState": lab.active_state,
                "HTTP status": lab.status,
                "tmux server": lab.server,
                "live sessions": alive,
                "not listed": lab.unlisted,
            },
        )
    if lab.manager is None:
        check.note("lab's user has no systemd user manager: no payload runs in it")
    else:
        _start_payload(dev)
    return lab


def after_restart(
    dev: Machine,
    event: str,
    rebuilt: Rebuild,
    first: LabState,
    before: LabState,
    budgets: Budgets,
) -> Observation:
    """Observe lab after a switch that restarts it. Raises NotExercised.

    Lab gets its budget to listen, because a unit of Type=simple is active earlier. If
    it never listens, the checks say so.
    """
    with suppress(GuestFailure):
        dev.wait_for_open_port(dev.lab.port, timeout=float(budgets.switch_lab_outage_s))
    lab = dev.lab.state()
    _must_have_restarted(event, rebuilt, before, lab)
    return _observe(dev, event, rebuilt, lab, first, budgets)


def after_switch(
    dev: Machine, event: str, rebuilt: Rebuild, first: LabState, budgets: Budgets
) -> Observation:
    """Observe lab after a switch that should leave it alone."""
    return _observe(dev, event, rebuilt, dev.lab.state(), first, budgets)


def draw(check: Recorder, seen: Observation, budgets: Budgets) -> None:
    """Keep every heartbeat since the event began for the report."""
    for session, heart in seen.hearts.items():
        gaps = heart.since(seen.since).gaps
        check.series(
            f"heartbeat of {session}, {seen.event}",
            [(gap.end - seen.since, gap.ms, session) for gap in gaps],
            kind="heartbeat",
            budget=float(budgets.heartbeat_gap_ms),
            judged_by=("session heartbeats are uninterrupted", seen.event),
            uptime=seen.since,
        )


def _observe(
    dev: Machine,
    event: str,
    rebuilt: Rebuild,
    lab: LabState,
    first: LabState,
    budgets: Budgets,
) -> Observation:
    beating = (*HEARTBEATS, PAYLOAD) if first.manager else HEARTBEATS
    return Observation(
        event,
        rebuilt.since,
        lab,
        {name: _heartbeat(dev, name, event, rebuilt.since) for name in beating},
        dev.lab.echo(TALKER, seconds=budgets.session_reach_s),
        dev.lab.attach(TALKER, seconds=budgets.session_reach_s),
    )


def _heartbeat(dev: Machine, session: str, event: str, since: float) -> Heartbeat:
    heart = dev.lab.heartbeats(session)
    if not heart.beats or heart.beats[0].at > since:
        raise NotExercised(
            f"{session} to write heartbeats before {event}",
            seen=f"the first one is {heart.beats[0].at - since:.1f} s after its begin"
            if heart.beats
            else "there is none",
        )
    return heart


def _start_payload(dev: Machine) -> None:
    """Start a heartbeat outside the sessions, in a scope of the user manager."""
    job = dev.lab.start_payload(PAYLOAD)
    awaited = dev.deadline(30, f"the first beat of {PAYLOAD}")
    beats = poll(
        lambda: dev.lab.heartbeats(PAYLOAD).beats or None,
        awaited,
        seen=lambda: job.output,
    )
    cgroup = dev.read_file(f"/proc/{beats[0].pid}/cgroup").strip()
    if not cgroup.endswith(f"/{PAYLOAD}.scope"):
        raise NotExercised(
            f"{PAYLOAD} to run in {PAYLOAD}.scope", seen=f"its cgroup is {cgroup}"
        )


def _must_have_restarted(
    event: str, rebuilt: Rebuild, before: LabState, after: LabState
) -> None:
    """Raise NotExercised where the switch did not restart lab.

    A unit that did not come up again has no MainPID: that is a restart too, which the
    checks judge.
    """
    if after.main_pid == before.main_pid or (
        after.invocation_id == before.invocation_id and after.main_pid
    ):
        raise NotExercised(
            f"{event} to restart lab",
            seen={
                "MainPID before": before.main_pid,
                "MainPID after": after.main_pid,
                "InvocationID before": before.invocation_id,
                "InvocationID after": after.invocation_id,
                "exit status": rebuilt.rc,
                "output": rebuilt.output,
            },
        )
    if after.exec_argv == before.exec_argv and after.main_pid:
        raise NotExercised(
            f"{event} to change what lab runs",
            seen=f"ExecStart is still {after.exec_argv}",
        )
