"""What must be the same after lab was restarted, what must not, and how one sees it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import HEARTBEATS, TALKER, GuestFailure, NotExercised, poll

if TYPE_CHECKING:
    from harness import Budgets, LabState, Machine, Process, Rebuild, Recorder

# Stands for the containers that lab runs for its sessions, outside its own cgroup.
PAYLOAD = "payload"


@dataclass(frozen=True)
class Witness:
    """Holds what lab was like at first against what it is like after each event."""

    dev: Machine
    check: Recorder
    budgets: Budgets
    first: LabState

    @classmethod
    def of(cls, dev: Machine, check: Recorder, budgets: Budgets) -> Witness:
        """Look at a lab that is well, with live sessions. Raises NotExercised."""
        first = dev.lab.state()
        alive = {name for name, one in first.sessions.items() if not one.dead}
        if not first.healthy or not {*HEARTBEATS, TALKER} <= alive:
            raise NotExercised(
                "lab was well and had its sessions before the event",
                seen=f"{first.active_state}, HTTP {first.status}, sessions {alive}, "
                f"not listed {first.unlisted}",
            )
        if first.manager is None:
            check.note("lab's user has no systemd of its own, so nothing lives there")
        else:
            _start_payload(dev)
        return cls(dev, check, budgets, first)

    def judge_restart(self, event: str, rebuilt: Rebuild, before: LabState) -> LabState:
        """Lab was restarted by a switch: its sessions must not have noticed."""
        self._await_page()
        after = self.dev.lab.state()
        _must_have_restarted(event, rebuilt, before, after)
        self.judge_sessions(event, after, rebuilt.since)
        self._judge_lab(event, before, after)
        return after

    def _await_page(self) -> None:
        """Give lab its budget: Type=simple is active long before it listens.

        Should it never listen, the checks that follow say so.
        """
        with suppress(GuestFailure):
            self.dev.wait_for_open_port(
                self.dev.lab.port,
                timeout=float(self.budgets.switch_lab_outage_s),
            )

    def judge_untouched(self, event: str, rebuilt: Rebuild) -> LabState:
        """Demand that a switch that is none of lab's business left it alone."""
        after = self.dev.lab.state()
        self.check.check(
            "lab itself is left alone",
            after.main_pid == self.first.main_pid,
            f"{event}: MainPID went from {self.first.main_pid} to {after.main_pid}",
        )
        self.judge_sessions(event, after, rebuilt.since)
        return after

    def judge_sessions(self, event: str, after: LabState, since: float) -> None:
        """Demand the same processes and terminals, and an unbroken heartbeat."""
        check, first = self.check.check, self.first
        # First what a person wants to know: it becomes the reason in the report.
        was, now = first.identities, after.identities
        lost = [name for name, identity in was.items() if now.get(name) != identity]
        check(
            "same session processes on the same terminals",
            not lost,
            f"{event}: {', '.join(lost) or 'none'} of {len(was)} sessions died or "
            f"were replaced; lab had KillMode={first.kill_mode} (pid, start time and "
            f"pty were {was}, are {now})",
        )
        check(
            "same tmux server",
            after.server
            and first.server
            and after.server.identity == first.server.identity,
            f"{event}: was {first.server}, is {after.server} {after.tmux_error}",
        )
        check(
            "exactly one tmux server",
            len(after.sockets) == 1,
            f"{event}: listening are {after.sockets}",
        )
        for name in HEARTBEATS:
            self._judge_heartbeat(event, name, since)
        if first.manager:
            self._judge_manager(event, first.manager, after.manager)
            self._judge_heartbeat(event, PAYLOAD, since)
        echo = self.dev.lab.echo(TALKER, seconds=self.budgets.session_reach_s)
        check(
            "a session still answers what is typed",
            echo.answered,
            f"{event}: typed {echo.nonce} into {TALKER}, its screen shows "
            f"{echo.screen[-300:]!r}",
        )
        seat = self.dev.lab.attach(TALKER, seconds=self.budgets.session_reach_s)
        check(
            "a person can attach to a session and work there",
            seat.answered,
            f"{event}: tmux attach to {TALKER}, typed {seat.nonce}, the terminal "
            f"shows {seat.screen[-300:]!r}",
        )

    def _judge_manager(self, event: str, was: Process, now: Process | None) -> None:
        self.check.check(
            "lab's user keeps its own systemd",
            now and now.identity == was.identity,
            f"{event}: it was PID {was.pid}, is {now.pid if now else 'gone'}; every "
            "container that a session has started goes with it",
        )

    def _judge_lab(self, event: str, before: LabState, after: LabState) -> None:
        check = self.check.check
        check(
            "lab is healthy again",
            after.active_state == "active" and after.status == 200,
            f"{event}: unit {after.active_state}, HTTP {after.status}",
        )
        check(
            "lab lists its sessions again",
            after.sessions and not after.unlisted,
            f"{event}: page does not name {after.unlisted or 'any session'}",
        )
        check(
            "sessions stay in lab's cgroup",
            not after.strays,
            f"{event}: outside {after.control_group}: {after.strays}",
        )
        check(
            "lab's cgroup hands out no controllers",
            not after.subtree_control,
            f"{event}: subtree_control is {after.subtree_control!r}; with survivors in "
            "the cgroup the next start fails with EBUSY",
        )
        check(
            "systemd did not have to restart lab by itself",
            after.n_restarts == before.n_restarts,
            f"{event}: NRestarts went from {before.n_restarts} to {after.n_restarts}",
        )

    def _judge_heartbeat(self, event: str, session: str, since: float) -> None:
        heart = self.dev.lab.heartbeats(session)
        if not heart.beats or heart.beats[0].at > since:
            raise NotExercised(f"{session}'s heart was beating before {event}")
        during = heart.since(since)
        self.check.check(
            "heartbeat without a missing or repeated number",
            heart.unbroken,
            f"{event}: {session} misses {heart.missing[:5]}, repeats "
            f"{heart.repeated[:5]}, written by {heart.pids}",
        )
        self.check.check(
            "heartbeat without a gap",
            during.longest_gap_ms <= self.budgets.heartbeat_gap_ms,
            f"{event}: {session} was silent for {during.longest_gap_ms:.0f} ms, budget "
            f"{self.budgets.heartbeat_gap_ms} ms",
        )
        self.check.series(
            f"heartbeat of {session}, {event}",
            [(gap.end - since, gap.ms, session) for gap in during.gaps],
            kind="heartbeat",
            budget=float(self.budgets.heartbeat_gap_ms),
        )


def _start_payload(dev: Machine) -> None:
    """Have a heart beat beside the sessions, in a scope of the user's systemd."""
    job = dev.lab.start_payload(PAYLOAD)
    awaited = dev.deadline(30, f"the first beat of {PAYLOAD}")
    beats = poll(
        lambda: dev.lab.heartbeats(PAYLOAD).beats or None,
        awaited,
        seen=lambda: job.output,
    )
    home = dev.read_file(f"/proc/{beats[0].pid}/cgroup").strip()
    if not home.endswith(f"/{PAYLOAD}.scope"):
        raise NotExercised(f"{PAYLOAD} ran in a scope of its own", seen=home)


def _must_have_restarted(
    event: str, rebuilt: Rebuild, before: LabState, after: LabState
) -> None:
    """Tell a lab that survived a restart from one that was never restarted.

    A unit that did not come up again has no MainPID: that is a restart too, and the
    checks say what became of it.
    """
    if after.main_pid == before.main_pid or (
        after.invocation_id == before.invocation_id and after.main_pid
    ):
        raise NotExercised(
            f"{event} restarted lab",
            seen=f"MainPID {after.main_pid} before and after; nixos-rebuild ended with "
            f"{rebuilt.rc}: {rebuilt.output[-1500:]}",
        )
    if after.exec_argv == before.exec_argv and after.main_pid:
        raise NotExercised(
            f"{event} changed what lab runs", seen=f"ExecStart={after.exec_argv}"
        )
