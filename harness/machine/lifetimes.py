"""Where machines come from: a boot, a frozen state, a host. Each is one `with`."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from harness.errors import GuestFailure, HarnessError
from harness.host import qemu_version
from harness.machine.handle import Machine
from harness.machine.microvm import MicroVm, shared
from harness.machine.recipe import Recipe, check_fits, gateway_of
from harness.qemu import Frozen, snapshot
from harness.spec import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.host import Accelerator
    from harness.machine.microvm import HostSystem
    from harness.machine.recipe import Adapt
    from harness.site import Site
    from harness.spec import Vm

LAB = Lab()
M = TypeVar("M", bound=Machine)
# Budgets in seconds under KVM; the accelerator's patience stretches them.
_BOOT_S = 75.0
_LAUNCH_S = 15.0
_THAW_S = 20.0
_FREEZE_S = 30.0


@contextmanager
def launch(
    vm: Vm,
    site: Site,
    image_disk: Path,
    directory: Path,
    accelerator: Accelerator,
    *,
    freezable: Path | None = None,
    adapt: Adapt = lambda plan: plan,
    lab: Lab = LAB,
) -> Iterator[Machine]:
    """Boot a machine from a base image, and yield it once it takes commands.

    `directory` gets sockets and logs; `freezable` is where the machine may be frozen
    later. Raises LaunchFailed, GuestPanicked, MachineDied, DeadlineExpired.
    """
    recipe = Recipe(
        vm=vm,
        directory=directory.resolve(),
        accelerator=accelerator,
        gateway=gateway_of(site),
        base=image_disk.resolve(),
        freezable=freezable and freezable.resolve(),
        adapt=adapt,
        lab=lab,
    )
    with lifetime(Machine(site, recipe)) as machine:
        machine.unit.start(machine.deadline(_LAUNCH_S, "QEMU to come up"))
        machine.wait_ready(machine.deadline(_BOOT_S, "the guest to boot"))
        yield machine


@contextmanager
def thaw(
    frozen: Path,
    vm: Vm,
    site: Site,
    directory: Path,
    accelerator: Accelerator,
    *,
    freezable: Path | None = None,
    adapt: Adapt = lambda plan: plan,
    lab: Lab = LAB,
) -> Iterator[Machine]:
    """Continue a frozen machine in a private copy, and yield it.

    Its clock is set and its NIC announced; its boot_id stays, and `restored_from` says
    where it comes from. Raises HarnessError when the state does not fit.
    """
    frozen = frozen.resolve()
    check_fits(Frozen.read(frozen), vm, accelerator, qemu_version())
    recipe = Recipe(
        vm=vm,
        directory=directory.resolve(),
        accelerator=accelerator,
        gateway=gateway_of(site),
        base=frozen / "disk.qcow2",
        frozen=frozen,
        freezable=freezable and freezable.resolve(),
        adapt=adapt,
        lab=lab,
    )
    with lifetime(Machine(site, recipe)) as machine:
        machine.unit.start(machine.deadline(_LAUNCH_S, "QEMU to come up"))
        machine.restored_from = frozen
        _awaken(machine, frozen)
        yield machine


@contextmanager
def launch_microvm(
    vm: Vm,
    site: Site,
    host: HostSystem,
    directory: Path,
    accelerator: Accelerator,
    *,
    adapt: Adapt = lambda plan: plan,
    lab: Lab = LAB,
) -> Iterator[MicroVm]:
    """Boot a machine of the old world from what a host gives it, and yield it.

    Shares keep it from ever being frozen, so each use is a boot. Raises what `launch`
    does, and HostError where this computer cannot serve the shares.
    """
    directory = directory.resolve()
    with shared(site, host, directory / "host") as shares:
        recipe = Recipe(
            vm=vm,
            directory=directory,
            accelerator=accelerator,
            gateway=gateway_of(site),
            base=host.disk,
            adapt=lambda plan: adapt(shares.plan(plan)),
            lab=lab,
        )
        with lifetime(MicroVm(site, recipe, shares)) as machine:
            machine.unit.start(machine.deadline(_LAUNCH_S, "QEMU to come up"))
            machine.wait_ready(machine.deadline(_BOOT_S, "the guest to boot"))
            yield machine


def freeze(machine: Machine, into: Path) -> None:
    """Turn a machine, which must be `freezable` there, into a template; ends it.

    Leaves `ram`, `state`, `disk.qcow2`, `seed.iso` and `machine.json`.
    """
    if machine.recipe.freezable != into:
        raise HarnessError(
            f"{machine.name} was not launched to be frozen into {into}",
            hint="pass freezable= to launch() or thaw()",
        )
    boot_id = machine.boot_id
    plan = machine.emulator.plan
    machine.agent.close()
    deadline = machine.deadline(_FREEZE_S, "the machine to be frozen")
    kind = snapshot.freeze(machine.qmp(), into, deadline)
    machine.emulator.power_off(grace=30)
    machine.end()
    if kind == "internal":
        (into / "ram").unlink()
    shutil.copyfile(machine.recipe.seed, into / "seed.iso")
    Frozen(
        kind=kind,
        name=machine.name,
        mac=plan.mac,
        mem=plan.mem,
        vcpu=plan.vcpu,
        machine_type=plan.machine_type,
        accelerator=plan.accelerator,
        cpu=plan.cpu,
        qemu=qemu_version(),
        boot_id=boot_id,
        frozen_at=time.time(),
    ).write(into)


def _awaken(machine: Machine, frozen: Path) -> None:
    """Let the frozen guest run on, at today's time and known to its neighbours."""
    deadline = machine.deadline(_THAW_S, "the frozen guest to answer")
    facts = Frozen.read(frozen)
    snapshot.thaw(machine.qmp(), frozen, facts.kind, deadline)
    announce = {"initial": 20, "max": 500, "rounds": 5, "step": 100}
    machine.qmp().execute("announce-self", **announce)
    machine.wait_ready(deadline)
    machine.agent.set_time(deadline)
    if machine.boot_id != facts.boot_id:
        raise HarnessError(
            f"{machine.name}: woke up as another boot than was frozen",
            seen=f"boot id {machine.boot_id}, frozen as {facts.boot_id}",
        )


@contextmanager
def lifetime(machine: M) -> Iterator[M]:
    """End the machine in any case; leave its last words with whatever went wrong."""
    try:
        yield machine
    except (HarnessError, GuestFailure) as error:
        last = machine.last_words()
        if last and not error.evidence:
            error.add_note(f"last lines on the console of {machine.name}:")
            for line in last:
                error.add_note(f"  | {line}")
        raise
    finally:
        machine.end()
