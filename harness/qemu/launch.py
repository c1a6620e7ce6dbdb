"""A running QEMU: spawned, watched, and brought to its end in any case."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import signal
import socket
import struct
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from harness.deadline import Deadline, poll
from harness.errors import (
    DeadlineExpired,
    GuestPanicked,
    HarnessError,
    LaunchFailed,
    MachineDied,
)
from harness.process import Popen, leashed, spawn
from harness.qemu import qmp as qmp_room
from harness.qemu.cmdline import MachinePlan, build
from harness.qemu.console import PANIC, Console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.qemu.qmp import Qmp

log = logging.getLogger(__name__)


class Enter(Protocol):
    """Prefixes a command so that it runs inside a site's sandbox."""

    def __call__(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` in there."""


class Ended(Protocol):
    """A process whose end can be awaited, also by a process that is not its parent."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""


def here(argv: Sequence[str]) -> list[str]:
    """Run it where we are, for no longer than we are: the way without a site."""
    return [*leashed("KILL"), *argv]


@dataclass
class Emulator:
    """One QEMU process, from its greeting to its end.

    `pid` is QEMU's own, as this process sees it, not that of the command which
    entered the sandbox. A panic counts from `panics_from` on, a place in the console.
    """

    plan: MachinePlan
    argv: tuple[str, ...]
    process: Ended
    qmp: Qmp
    console: Console
    pid: int
    panics_from: int = 0
    tolerates_panic: bool = False
    rungs: list[str] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self.process.poll() is None

    def check(self) -> None:
        """Raise what ends every wait: a panic of the guest, the end of QEMU."""
        panic = None if self.tolerates_panic else self.panic()
        if panic is not None:
            raise GuestPanicked(
                f"{self.plan.name}: the guest kernel panicked",
                seen=panic,
                evidence=self.console.tail(30),
            )
        if not self.running:
            raise self.death()

    def panic(self) -> str | None:
        """Return the first sign of a kernel panic in this run."""
        for event in self.qmp.events:
            if event.name == "GUEST_PANICKED":
                return "pvpanic: " + json.dumps(event.data)
        found = PANIC.search(self.console.since(self.panics_from))
        return found[0] if found else None

    def death(self) -> MachineDied:
        """Build the error that says how QEMU ended."""
        reasons = [
            e.data.get("reason") for e in self.qmp.events if e.name == "SHUTDOWN"
        ]
        shutdown = f", shutdown by {reasons[-1]}" if reasons else ""
        return MachineDied(
            f"{self.plan.name}: QEMU ended while it was needed",
            seen=f"exit status {self.process.returncode}{shutdown}",
            evidence=[*_output(self.plan), *self.console.tail()],
        )

    def wait_end(self, deadline: Deadline) -> int:
        """Wait until the process has ended; return its exit status."""
        return poll(self.process.poll, deadline, interval=0.02)

    def power_off(self, grace: float = 5.0) -> None:
        """End QEMU without asking the guest: QMP quit, SIGTERM, SIGKILL.

        Each rung gets `grace` seconds and is kept in `rungs`.
        """
        ladder: list[tuple[str, Callable[[], object]]] = [
            ("quit", lambda: self.qmp.quit(grace)),
            ("SIGTERM", lambda: self.signal(signal.SIGTERM)),
            ("SIGKILL", lambda: self.signal(signal.SIGKILL)),
        ]
        for rung, act in ladder:
            if not self.running:
                return
            self.rungs.append(rung)
            log.log(
                logging.DEBUG if rung == "quit" else logging.WARNING,
                "%s: ending QEMU by %s",
                self.plan.name,
                rung,
            )
            with suppress(HarnessError):
                act()
            with suppress(DeadlineExpired):
                self.wait_end(Deadline.after(grace, f"QEMU to end by {rung}"))

    def kill(self) -> None:
        """Cut the power: SIGKILL, and wait for the end."""
        self.rungs.append("SIGKILL")
        self.signal(signal.SIGKILL)
        self.wait_end(Deadline.after(20, "a killed QEMU to be gone"))

    def signal(self, number: signal.Signals) -> None:
        """Send QEMU itself a signal; one that is gone already is fine."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


@contextmanager
def launch(
    plan: MachinePlan, *, deadline: Deadline, enter: Enter = here
) -> Iterator[Emulator]:
    """Run QEMU for the length of the `with`; its end is certain.

    Leaves `argv.txt`, `qemu.log`, `console.log` and `qmp.jsonl` in the plan's
    directory. Raises LaunchFailed with QEMU's own words.
    """
    plan.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(plan)
    with ExitStack() as stack:
        ours, theirs = socket.socketpair()
        stack.callback(theirs.close)
        argv = build(plan, qmp_fd=theirs.fileno())
        (plan.directory / "argv.txt").write_text(shlex.join(argv) + "\n")
        output = stack.enter_context((plan.directory / "qemu.log").open("ab"))
        process = stack.enter_context(
            spawn(
                # A session of its own: Ctrl-C in a terminal is for us to act on.
                ["setsid", *enter(argv)],
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
            )
        )
        theirs.close()
        console = Console(plan.console_log, plan.console_socket)
        mark = console.size
        try:
            qmp = stack.enter_context(
                qmp_room.connect(ours, plan.directory / "qmp.jsonl", deadline)
            )
        except HarnessError as error:
            raise _launch_failure(plan, argv, process, error) from error
        pid = peer(plan)
        emulator = Emulator(
            plan, tuple(argv), process, qmp, console, pid, panics_from=mark
        )
        console.watch(emulator.check)
        try:
            yield emulator
        finally:
            emulator.power_off()


def _sweep(plan: MachinePlan) -> None:
    """Remove sockets that an earlier, killed run left behind."""
    for path in (plan.console_socket, plan.agent_socket, plan.monitor_socket):
        path.unlink(missing_ok=True)


def peer(plan: MachinePlan) -> int:
    """Ask the kernel who listens on QEMU's monitor: QEMU's PID, in our own terms.

    The child that we spawned may be the command that entered the sandbox, and QEMU
    counts in the sandbox's PID namespace; neither is the number to signal.
    """
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(str(plan.monitor_socket))
        size = struct.calcsize("3i")
        credentials = wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", credentials)[0])


def _launch_failure(
    plan: MachinePlan,
    argv: Sequence[str],
    process: Popen[bytes],
    cause: HarnessError,
) -> LaunchFailed:
    with suppress(DeadlineExpired):
        poll(process.poll, Deadline.after(2, "QEMU's exit status"))
    return LaunchFailed(
        f"{plan.name}: QEMU did not come up",
        seen=f"exit status {process.poll()}; {cause.summary}",
        evidence=[*_output(plan), shlex.join(argv)],
    )


def _output(plan: MachinePlan) -> list[str]:
    """Return what QEMU itself said last."""
    try:
        text = (plan.directory / "qemu.log").read_text(errors="replace")
    except FileNotFoundError:
        return []
    return re.sub(r"^qemu-system-\S+: ", "", text, flags=re.MULTILINE).splitlines()[
        -10:
    ]
