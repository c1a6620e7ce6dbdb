"""A machine that somebody else's units start, as suites hold it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import GuestFailure
from harness.fleet import Vm
from harness.machine.adopted.command import CommandLine
from harness.machine.adopted.life import AdoptedUnit
from harness.machine.handle import REBOOT_S, Machine, Reboot
from harness.machine.lifetimes import LAB, lifetime
from harness.machine.recipe import Recipe, gateway_of
from harness.qemu import Disk, MachinePlan, StepLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.fleet import LabSpec
    from harness.host import Accelerator
    from harness.machine.adopted.units import Units
    from harness.site import Site

_BOOT_S = 75.0
_LAUNCH_S = 60.0
_CLOUD_INIT_S = 300.0
_STATE = Path("/var/lib")


class AdoptedVm(Vm):
    """A VM whose units name its tap."""

    own_tap: str = ""

    @property
    def tap(self) -> str:
        """Name of the VM's interface on the host, as QEMU was told."""
        return self.own_tap or super().tap


@dataclass(kw_only=True)
class AdoptedRecipe(Recipe):
    """A recipe that others have: where they put the disk is read off QEMU."""

    own_disk: Path | None = None

    @property
    def disk(self) -> Path:
        """The machine's own disk."""
        return self.own_disk or super().disk

    def plan(self, tap: str) -> MachinePlan:
        """Say where our channels are, and what a throwaway machine gets."""
        return self.adapt(
            MachinePlan(
                name=self.vm.name,
                directory=self.directory,
                mem=self.vm.mem,
                vcpu=self.vm.vcpu,
                mac=self.vm.mac,
                accelerator=self.accelerator.name,
                cpu=self.accelerator.cpu,
                disk=Disk(path=self.disk, serial=self.vm.name),
                tap=tap or None,
            )
        )


class AdoptedMachine(Machine):
    """A machine whose start and stop are those of its units."""

    unit: AdoptedUnit
    recipe: AdoptedRecipe

    def __init__(self, site: Site, recipe: AdoptedRecipe, units: Units) -> None:
        super().__init__(site, recipe)
        self.unit = AdoptedUnit(
            units,
            site,
            plan=recipe.plan,
            journal=StepLog(self.directory / "lifecycle.jsonl"),
            patience=recipe.accelerator.patience,
        )

    @property
    def asked(self) -> CommandLine:
        """What the units asked of QEMU, before it was scaled down."""
        return CommandLine.of(self.unit.given)

    def recognise(self) -> None:
        """Take disk and tap from QEMU's command line."""
        asked = self.asked
        if asked.taps:
            update = {"own_tap": asked.taps[0]}
            self.vm = self.recipe.vm = self.vm.model_copy(update=update)
        for file in map(Path, asked.files[:1]):
            inside = file.is_relative_to(_STATE)
            self.recipe.own_disk = (
                self.unit.state / file.relative_to(_STATE) if inside else file
            )

    def deploy(self, **options: object) -> None:
        """Do to the units what a deploy of the host would that changed all of them."""
        super().deploy(**options)
        if self.unit.units.restarted_by_a_deploy:
            self.unit.stop()
            self.start()

    def reboot(self, timeout: float = REBOOT_S) -> Reboot:
        """Reboot from inside; a QEMU that ends by it is what `Restart=` is for."""
        old, started = self.boot_id, time.monotonic()
        try:
            return super().reboot(timeout)
        except GuestFailure:
            if self.running or not self.unit.units.main.restarts:
                raise
        self.start()
        return Reboot(old, self.boot_id, time.monotonic() - started)

    def shutdown(self, timeout: float = 0.0) -> None:
        """Stop the units, which decide by themselves how long that may take.

        Raises GuestFailure when the guest did not end by its own doing.
        """
        _ = timeout
        mark = len(self.qmp().events)
        self.unit.stop()
        events = [e for e in self.qmp().events[mark:] if e.name == "SHUTDOWN"]
        running = self.running
        self.end()
        reason = events[-1].data.get("reason") if events else "none"
        if running or reason != "guest-shutdown":
            raise GuestFailure(
                f"{self.name}: its unit's stop was a power cut",
                seen=f"shutdown by {reason}, steps {self.steps.taken[-2:]}",
                hint="ExecStop has to ask the guest, and to wait until QEMU has ended",
            )


@contextmanager
def adopt(
    units: Units,
    vm: Vm,
    site: Site,
    directory: Path,
    accelerator: Accelerator,
    *,
    lab: LabSpec = LAB,
) -> Iterator[AdoptedMachine]:
    """Start a machine by its own units, and yield it once cloud-init is through.

    `vm` is as large as a throwaway machine may be, but for its disk, which the units
    make. Raises GuestFailure where a unit fails.
    """
    directory = directory.resolve()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    recipe = AdoptedRecipe(
        vm=AdoptedVm(**dict(vm)),
        directory=directory,
        accelerator=accelerator,
        gateway=gateway_of(site),
        base=directory,
        lab=lab,
        cold=True,
    )
    with lifetime(AdoptedMachine(site, recipe, units)) as machine:
        machine.unit.start(machine.deadline(_LAUNCH_S, "QEMU to come up"))
        machine.recognise()
        machine.wait_ready(machine.deadline(_BOOT_S, "the guest to boot"))
        machine.execute("cloud-init", "status", "--wait", timeout=_CLOUD_INIT_S)
        yield machine
