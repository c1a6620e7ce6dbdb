"""The machine: the handle that suites hold.

Verbs are those of the NixOS test driver. What the guest answers is judged, so a unit
that fails or a command that should have succeeded is a GuestFailure; a guest that can
no longer be asked is a HarnessError, unless coming back was what was asked of it
(`reboot`, `shutdown`, `start`).
"""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import nullcontext, suppress
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
from harness.machine.cpu import Cpu
from harness.qemu import StepLog, Unit, disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from ipaddress import IPv4Address
    from pathlib import Path

    from harness.machine.recipe import Recipe
    from harness.qemu import Console, Emulator, Event, Qmp
    from harness.site import Site

log = logging.getLogger(__name__)

# Budgets in seconds under KVM; the accelerator's patience stretches them.
_BOOT_S = 75.0
REBOOT_S = 90.0
_SHUTDOWN_S = 45.0


_PRESS_S = 4.0
_LAUNCH_S = 15.0


@dataclass(frozen=True, slots=True)
class Reboot:
    """A reboot that really took place: two boot ids, and seconds until it answered."""

    old: str
    new: str
    duration: float


class Machine(Commands):
    """One throwaway VM on a site. Made by `launch` and `restore`."""

    def __init__(
        self,
        site: Site,
        recipe: Recipe,
        beside: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.vm = recipe.vm
        self.name = recipe.vm.name
        self.site = site
        self.directory = recipe.directory
        self.accelerator = recipe.accelerator
        self.recipe = recipe
        self.restored_from: Path | None = None
        self.unit = Unit(
            self.name,
            site,
            init=recipe.init,
            plan=recipe.plan,
            journal=StepLog(self.directory / "lifecycle.jsonl"),
            beside=beside,
        )
        self.agent = AgentTransport(self.directory / "agent.sock", watch=self.check)
        self.cpu = Cpu(self)
        super().__init__(recipe.lab)

    def __repr__(self) -> str:
        state = "running" if self.running else "off"
        return f"<Machine {self.name} {state} in {self.directory}>"

    # What it runs on ----------------------------------------------------------------

    @property
    def emulator(self) -> Emulator:
        """The QEMU process of the last start."""
        return self.unit.emulator

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
        return self.unit.journal

    @property
    def disk(self) -> Path:
        """Its own disk."""
        return self.recipe.disk

    @property
    def tap(self) -> str:
        """The name of its tap on the bridge."""
        return self.vm.tap

    @property
    def backing(self) -> list[Path]:
        """Files of this computer that its disk is built on, the nearest first."""
        return disk.backing(self.recipe.disk, self.deadline(_LAUNCH_S, "its disk"))

    def qmp(self) -> Qmp:
        """Return QEMU's control channel, with all events of this start."""
        return self.emulator.qmp

    def check(self) -> None:
        """Raise GuestPanicked or MachineDied when there is nothing to wait for."""
        self.emulator.check()

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
        self.recipe.cold = True
        self.agent.close()
        self.unit.start(self.deadline(_LAUNCH_S, "QEMU to come up"))
        with self._judged("did not boot again", self._last_line):
            self.wait_ready(self.deadline(timeout, "the guest to boot again"))

    def recreate(self, base: Path, timeout: float = _BOOT_S) -> None:
        """Remove the state directory, and boot the base image as if for the first time.

        All that it ever was is gone, its evidence so far included.
        """
        self.end()
        shutil.rmtree(self.directory)
        self.recipe.saved, self.recipe.base = None, base
        self.restored_from = None
        self.start(timeout)

    def reboot(self, timeout: float = REBOOT_S) -> Reboot:
        """Reboot from inside, and prove it by QEMU's reset and a new boot id."""
        old, started = self.boot_id, time.monotonic()
        mark = len(self.qmp().events)
        deadline = self.deadline(timeout, "the guest to come back from its reboot")
        with self._judged("did not come back from its reboot", self._last_line):
            self.begin_reboot()
            event = self._await_reset(mark, deadline)
            self.agent.close()
            self.wait_ready(deadline)
        new = self.boot_id
        if event.data.get("reason") != "guest-reset" or new == old:
            raise GuestFailure(
                f"{self.name}: did not reboot", seen=f"{event.data}, boot id {new}"
            )
        return Reboot(old, new, time.monotonic() - started)

    def _await_reset(self, mark: int, deadline: Deadline) -> Event:
        """Wait for QEMU's reset; GuestFailure where QEMU ends in its place."""
        try:
            return self.qmp().wait_event(
                "RESET", deadline=deadline, since=mark, check=self.check
            )
        except MachineDied as death:
            events = self.qmp().events[mark:]
            if all(event.data.get("reason") != "guest-reset" for event in events):
                raise
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
        """Press the power button until the guest ends itself.

        Again and again, because a guest that is still booting misses the first press.
        Raises GuestFailure when it does not end, or QEMU ended for another reason.
        """
        mark = len(self.qmp().events)
        deadline = self.deadline(timeout, "the guest to shut down")
        presses: list[Deadline] = []

        def press() -> None:
            if not presses or presses[-1].expired:
                presses.append(self.deadline(_PRESS_S, "the power button"))
                with suppress(MachineDied):  # the event that says so is on its way
                    self.qmp().execute("system_powerdown")

        with self._judged("did not shut down", self._last_line):
            event = self.qmp().wait_event(
                "SHUTDOWN", deadline=deadline, since=mark, check=press
            )
            self.emulator.wait_end(deadline)
        self.end()
        if event.data.get("reason") != "guest-shutdown":
            raise GuestFailure(
                f"{self.name}: ended, but not by its own doing", seen=str(event.data)
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

        Whatever runs is left alone: `restartIfChanged = false`.
        """
        self.vm = self.recipe.vm = self.vm.model_copy(update=options)

    def retire(self) -> None:
        """Take it off its host for good: shutdown, then its state directory goes."""
        self.shutdown()
        shutil.rmtree(self.directory)

    def crash(self) -> None:
        """Cut the power: the guest's caches are lost, its disk stays as it is."""
        self.emulator.kill()
        self.end()

    def end(self) -> None:
        """End QEMU if it still runs, whatever the guest is at; take the tap down."""
        self.agent.close()
        self.unit.close()

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
        self.qmp().execute("set_link", name="nic", up=False)

    def unblock_network(self) -> None:
        """Plug the network cable in again."""
        self.qmp().execute("set_link", name="nic", up=True)

    # Evidence -----------------------------------------------------------------------

    def collect(self, into: Path) -> None:
        """Copy what a report keeps; never raises, for a dead machine either."""
        records.collect(self, into)
