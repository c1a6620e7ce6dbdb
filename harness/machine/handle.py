"""The machine: the object that suites control a VM with.

Verbs are those of the NixOS test driver. What the guest answers is judged, so a unit
that fails or a command that should have succeeded is a GuestFailure; a guest that can
no longer be asked is a HarnessError, unless coming back was what was asked of it
(`reboot`, `shutdown`, `start`).
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.deadline import Deadline, poll
from harness.errors import (
    GuestFailure,
    HarnessError,
    MachineDied,
    MachineError,
)
from harness.guest.agent import AgentTransport
from harness.machine import records
from harness.machine.commands import COMMAND_S, UNIT_S, Commands
from harness.machine.hooks import NO_HOOKS
from harness.qemu import disk
from harness.shell import Cpu

if TYPE_CHECKING:
    from ipaddress import IPv4Address
    from pathlib import Path

    from harness.fleet import LabSpec, Vm
    from harness.host import Accelerator
    from harness.machine.hooks import Hooks
    from harness.qemu import Console, Emulator, Qmp
    from harness.shell import Shell, StepLog
    from harness.site import Site

log = logging.getLogger(__name__)

# Budgets in seconds under KVM; the accelerator's patience stretches them.
_BOOT_S = 75.0
REBOOT_S = 90.0
_SHUTDOWN_S = 45.0


_PRESS_S = 4.0
LAUNCH_S = 15.0


@dataclass(frozen=True, slots=True)
class Reboot:
    """A reboot that really took place: two boot ids, and seconds until it answered."""

    old: str
    new: str
    duration: float


class Machine(Commands):
    """One throwaway VM on a site. Made by `launch`, `restore` and `adopt`.

    `shell` is what its host does around it; the verbs here add the guest's part.
    """

    def __init__(
        self,
        site: Site,
        shell: Shell,
        accelerator: Accelerator,
        *,
        lab: LabSpec,
        hooks: Hooks[Machine] = NO_HOOKS,
    ) -> None:
        self.name = shell.vm.name
        self.site = site
        self.accelerator = accelerator
        self.shell = hooks.alter_shell(shell, site)
        self.restored_from: Path | None = None
        self.agent = AgentTransport(self.directory / "agent.sock", watch=self.check)
        self.cpu = Cpu(self.shell, site)
        super().__init__(
            lab,
            after_rebuild=lambda: hooks.after_rebuild(self),
            after_collection=lambda: hooks.after_collection(self),
        )

    def __repr__(self) -> str:
        state = "running" if self.running else "off"
        return f"<Machine {self.name} {state} in {self.directory}>"

    # What it runs on ----------------------------------------------------------------

    @property
    def vm(self) -> Vm:
        """Its options, as last deployed."""
        return self.shell.vm

    @property
    def directory(self) -> Path:
        """The state directory, with sockets and logs."""
        return self.shell.directory

    @property
    def emulator(self) -> Emulator:
        """The QEMU process of the last start."""
        return self.shell.emulator

    @property
    def console(self) -> Console:
        """The serial console, with everything it ever printed."""
        return self.emulator.console

    @property
    def running(self) -> bool:
        """Whether QEMU runs."""
        with suppress(MachineError):
            return self.emulator.running
        return False

    @property
    def argv(self) -> tuple[str, ...]:
        """QEMU's command line, without what led it into the site."""
        return self.emulator.argv

    @property
    def steps(self) -> StepLog:
        """The steps taken around QEMU, start after start."""
        return self.shell.log

    @property
    def disk(self) -> Path:
        """Its own disk."""
        return self.shell.disk

    @property
    def tap(self) -> str:
        """The name of its tap on the bridge."""
        return self.shell.tap

    @property
    def backing(self) -> list[Path]:
        """Files of this computer that its disk is built on, the nearest first."""
        return disk.backing(self.disk, self.deadline(LAUNCH_S, "its disk"))

    def qmp(self) -> Qmp:
        """Return QEMU's control channel, with all events of this start."""
        return self.emulator.qmp

    def check(self) -> None:
        """Raise GuestPanicked, MachineDied or SiteDied where waiting is in vain."""
        try:
            self.emulator.check()
        except MachineDied:
            self.site.check()
            raise

    def deadline(self, seconds: float, awaited: str) -> Deadline:
        """Give up after `seconds`, stretched to the speed of this computer."""
        patience = self.accelerator.patience
        return Deadline.after(seconds * patience, f"{self.name}: {awaited}")

    # Waits --------------------------------------------------------------------------

    def wait_for_open_port(
        self, port: int, ip: IPv4Address | None = None, timeout: float = UNIT_S
    ) -> None:
        """Wait until a TCP port answers the LAN client, on the VM's own address."""
        address = ip or self.vm.ip
        deadline = self.deadline(timeout, f"port {port} on {address}")

        def look() -> bool | None:
            self.check()
            attempt = deadline.sub(2.0, deadline.awaited)
            return self.site.client.tcp(address, port, attempt) or None

        with self._judged(f"port {port} on {address} stayed closed", str):
            poll(look, deadline, interval=0.1)

    # Life and death -----------------------------------------------------------------

    @property
    def boot_id(self) -> str:
        """The running boot's id, from the kernel; a restore does not change it."""
        return self.read_file("/proc/sys/kernel/random/boot_id").strip()

    def wait_ready(self, deadline: Deadline) -> None:
        """Wait until the guest takes commands. Raises DeadlineExpired."""
        self.agent.ping(deadline)

    def start(self, timeout: float = _BOOT_S) -> None:
        """Boot again from the same disk, after `shutdown` or `crash`."""
        self.agent.close()
        self.shell.start(self.deadline(LAUNCH_S, "QEMU to come up"))
        with self._judged("did not boot again", self._last_line):
            self.wait_ready(self.deadline(timeout, "the guest to boot again"))

    def recreate(self, base: Path, timeout: float = _BOOT_S) -> None:
        """Remove the state directory, and boot the base image as if for the first time.

        All that it ever was is gone, its evidence so far included.
        """
        self.agent.close()
        self.shell.reset(base)
        self.restored_from = None
        self.start(timeout)

    def reboot(self, timeout: float = REBOOT_S) -> Reboot:
        """Reboot from inside, and prove it by QEMU's reset and a new boot id.

        A QEMU that ends instead may be started again by the shell.
        """
        old, started = self.boot_id, time.monotonic()
        mark = len(self.qmp().events)
        deadline = self.deadline(timeout, "the guest to come back from its reboot")
        with self._judged("did not come back from its reboot", self._last_line):
            self.begin_reboot()
            reason = self._await_reset(mark, deadline)
            self.agent.close()
            self.wait_ready(deadline)
        new = self.boot_id
        if reason != "guest-reset" or new == old:
            raise GuestFailure(
                f"{self.name}: did not reboot", seen=f"{reason}, boot id {new}"
            )
        return Reboot(old, new, time.monotonic() - started)

    def _await_reset(self, mark: int, deadline: Deadline) -> str:
        """Wait for QEMU's reset, and return its reason.

        Raises GuestFailure where QEMU ends instead and nothing starts it again.
        """
        qmp = self.qmp()
        try:
            event = qmp.wait_event(
                "RESET", deadline=deadline, since=mark, check=self.check
            )
            return str(event.data.get("reason"))
        except MachineDied as death:
            reasons = [event.data.get("reason") for event in qmp.events[mark:]]
            if "guest-reset" not in reasons:
                raise
            if self.shell.restarted(deadline):
                return "guest-reset"
            raise GuestFailure(
                f"{self.name}: its QEMU ended when the guest rebooted",
                seen=death.seen,
                hint="QEMU's -no-reboot does that; its unit then has to start it again",
            ) from death

    def begin_reboot(self) -> None:
        """Have the guest begin to reboot, and await nothing, not even the command.

        The agent goes down with the guest, and most often before it could answer.
        """
        deadline = self.deadline(COMMAND_S, "a reboot to begin")
        self.agent.start(("systemctl", "--no-block", "reboot"), deadline=deadline)

    def shutdown(self, timeout: float = _SHUTDOWN_S) -> None:
        """Stop it as its host does, and demand that the guest ended itself.

        Raises GuestFailure when it does not end, or QEMU ended for another reason.
        """
        qmp = self.qmp()
        mark = len(qmp.events)
        with self._judged("did not shut down", self._last_line):
            self.shell.stop(self.deadline(timeout, "the guest to shut down"))
        self.agent.close()
        ends = [e.data.get("reason") for e in qmp.events[mark:] if e.name == "SHUTDOWN"]
        if ends[-1:] != ["guest-shutdown"]:
            raise GuestFailure(
                f"{self.name}: its stop was a power cut",
                seen=f"shutdown by {ends[-1] if ends else 'none'}, "
                f"steps {self.steps.taken[-2:]}",
                hint="a stop has to ask the guest, and to wait until QEMU has ended",
            )

    def stop(self, timeout: float = _SHUTDOWN_S) -> None:
        """End it down the whole ladder: power button, QMP quit, SIGTERM, SIGKILL."""
        try:
            self.shutdown(timeout)
        except (HarnessError, GuestFailure) as error:
            log.warning("%s: %s; ending QEMU", self.name, error.summary)
        self.end()

    def deploy(self, **options: object) -> None:
        """Have the host deploy other options for this VM, as its next start has them.

        Where that restarts the machine, wait until it has booted.
        """
        before = self.emulator
        self.shell.deploy(options, self.deadline(_SHUTDOWN_S, "the host's deploy"))
        self._follow(before)

    def retire(self) -> None:
        """Remove it from its host: a stop, then its state directory is deleted."""
        self.agent.close()
        with self._judged("did not shut down", self._last_line):
            self.shell.retire(self.deadline(_SHUTDOWN_S, "the guest to shut down"))

    def crash(self) -> None:
        """Cut the power: the guest's caches are lost, its disk stays as it is."""
        self.agent.close()
        self.shell.crash()

    def end(self) -> None:
        """End QEMU if it still runs, without asking the guest; take the tap down."""
        self.agent.close()
        self.shell.close()

    def _follow(self, before: Emulator) -> None:
        """Turn to the QEMU that runs now, if the shell has started another one."""
        if self.emulator is not before:
            self.agent.close()
            with self._judged("did not boot again", self._last_line):
                self.wait_ready(self.deadline(_BOOT_S, "the guest to boot again"))

    def _last_line(self) -> str:
        return f"last on the console: {''.join(self.last_words(1)) or 'nothing'}"

    def last_words(self, count: int = 20) -> list[str]:
        """Return the last lines on the console, if it ever printed any."""
        try:
            return self.console.tail(count)
        except MachineError:
            return []

    # Network ------------------------------------------------------------------------

    def block_network(self) -> None:
        """Pull the network cable."""
        self.shell.set_link(up=False)

    def unblock_network(self) -> None:
        """Plug the network cable in again."""
        before = self.emulator
        self.shell.set_link(up=True)
        self._follow(before)

    # Evidence -----------------------------------------------------------------------

    def collect(self, into: Path) -> None:
        """Copy what a report keeps; never raises, for a dead machine either."""
        sources = [self.directory]
        with suppress(MachineError):
            sources.append(self.emulator.plan.directory)
        records.collect(sources, self.execute, into)
