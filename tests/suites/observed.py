"""Observations of a healthy guest, for the suites' judgements to be tried on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import Generation, Heartbeat, LabState, SystemState, Verification
from harness.guest.heartbeat import Beat
from harness.guest.lab import Session
from harness.guest.proc import Process

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness import Check

GROUP = "/system.slice/lab.service"


def failed(checks: Iterable[Check]) -> set[str]:
    """Name the checks that do not hold."""
    return {check.name for check in checks if not check.held}


def process(pid: int, cgroup: str = GROUP) -> Process:
    """Make a process of lab's."""
    return Process(pid, 10 * pid, "tmux", "S", None, cgroup)


def session(name: str, pid: int, cgroup: str = GROUP) -> Session:
    """Make a live session."""
    pty = f"/dev/pts/{pid}"
    return Session(name, pid, pty, dead=False, created=1, process=process(pid, cgroup))


SESSIONS = {name: session(name, pid) for pid, name in enumerate(("alpha", "beta"), 20)}
LAB = LabState(
    uptime=100.0,
    properties={
        "ActiveState": "active",
        "MainPID": "7",
        "NRestarts": "1",
        "KillMode": "process",
        "ControlGroup": GROUP,
    },
    main=process(7),
    server=process(10),
    manager=process(11, "/user.slice"),
    sessions=SESSIONS,
    tmux_error="",
    sockets=("/tmp/tmux-990/default",),  # noqa: S108 - a path in the guest
    cgroup_pids=(7, 10, 20, 21),
    subtree_control="",
    status=200,
    page="alpha beta",
)
STEADY = Heartbeat(tuple(Beat(n, n / 10, 20) for n in range(1100)), 110.0)
VERIFIED = Verification(0, (), "checking path existence...\n")
OLD, NEW = (
    Generation(f"/nix/store/{n}-nixos", f"k{n}", "i", "s", "m", "d", "25.05", "ro")
    for n in "ab"
)
STATE = SystemState(
    boot_id="b1",
    uptime=10.0,
    kernel_release="6.12.1",
    cmdline=f"init={OLD.path}/init ro",
    booted=OLD,
    current=NEW,
    profile=NEW,
    profile_number=2,
    generations=(),
    modules_present=True,
    pid1_exe=None,
    leftovers=(),
)
