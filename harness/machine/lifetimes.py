"""Machines from a boot, a saved state, a host or units; each is a `with`."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.errors import GuestFailure, HarnessError
from harness.fleet import LabSpec
from harness.host import qemu_version
from harness.machine.handle import LAUNCH_S, Machine
from harness.machine.hooks import NO_HOOKS
from harness.qemu import SavedState, snapshot
from harness.shell import (
    ModuleShell,
    Recipe,
    UnitShell,
    check_fits,
    gateway_of,
    shared,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.fleet import Vm
    from harness.host import Accelerator
    from harness.machine.hooks import Hooks
    from harness.shell import HostSystem, Units
    from harness.site import Site

LAB = LabSpec()
# Budgets in seconds under KVM; the accelerator's patience stretches them.
_BOOT_S = 75.0
_RESTORE_S = 20.0
_SAVE_S = 30.0
_CLOUD_INIT_S = 300.0


@contextmanager
def launch(
    vm: Vm,
    site: Site,
    image_disk: Path,
    directory: Path,
    accelerator: Accelerator,
    *,
    save_into: Path | None = None,
    hooks: Hooks[Machine] = NO_HOOKS,
    lab: LabSpec = LAB,
) -> Iterator[Machine]:
    """Boot a machine from a base image, and yield it once it takes commands.

    `directory` gets sockets and logs; `save_into` is where the machine may be saved
    later. Raises LaunchFailed, GuestPanicked, MachineDied, DeadlineExpired.
    """
    recipe = Recipe(
        vm=vm,
        directory=directory.resolve(),
        accelerator=accelerator,
        gateway=gateway_of(site),
        base=image_disk.resolve(),
        save_into=save_into and save_into.resolve(),
        adapt=hooks.alter_command_line,
    )
    shell = ModuleShell(recipe, site)
    with lifetime(Machine(site, shell, accelerator, lab=lab, hooks=hooks)) as machine:
        _boot(machine)
        yield machine


@contextmanager
def restore(
    saved: Path,
    vm: Vm,
    site: Site,
    directory: Path,
    accelerator: Accelerator,
    *,
    save_into: Path | None = None,
    hooks: Hooks[Machine] = NO_HOOKS,
    lab: LabSpec = LAB,
) -> Iterator[Machine]:
    """Continue a saved machine in a private copy, and yield it.

    Its clock is set and its NIC announced; its boot_id stays, and `restored_from` says
    where it comes from. Raises HarnessError when the state does not fit.
    """
    saved = saved.resolve()
    check_fits(SavedState.read(saved), vm, accelerator, qemu_version())
    recipe = Recipe(
        vm=vm,
        directory=directory.resolve(),
        accelerator=accelerator,
        gateway=gateway_of(site),
        base=saved / "disk.qcow2",
        saved=saved,
        save_into=save_into and save_into.resolve(),
        adapt=hooks.alter_command_line,
    )
    shell = ModuleShell(recipe, site)
    with lifetime(Machine(site, shell, accelerator, lab=lab, hooks=hooks)) as machine:
        machine.shell.start(machine.deadline(LAUNCH_S, "QEMU to come up"))
        machine.restored_from = saved
        _resume(machine, saved)
        yield machine


@contextmanager
def launch_microvm(
    vm: Vm,
    site: Site,
    host: HostSystem,
    directory: Path,
    accelerator: Accelerator,
    *,
    hooks: Hooks[Machine] = NO_HOOKS,
    lab: LabSpec = LAB,
) -> Iterator[Machine]:
    """Boot a machine as a microvm from what a host gives it, and yield it.

    Shares keep it from ever being saved, so each use is a boot. Raises what `launch`
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
            adapt=lambda plan: hooks.alter_command_line(shares.plan(plan)),
        )
        shell = ModuleShell(
            recipe, site, sidecars=shares.serve, host_store=shares.store
        )
        made = Machine(site, shell, accelerator, lab=lab, hooks=hooks)
        with lifetime(made) as machine:
            _boot(machine)
            yield machine


@contextmanager
def adopt(
    units: Units,
    vm: Vm,
    site: Site,
    directory: Path,
    accelerator: Accelerator,
    *,
    hooks: Hooks[Machine] = NO_HOOKS,
    lab: LabSpec = LAB,
) -> Iterator[Machine]:
    """Start a machine by its own units, and yield it once cloud-init is done.

    `vm` is as large as a throwaway machine may be, but for its disk, which the units
    make. Raises GuestFailure where a unit fails, HostError without root or systemd.
    """
    directory = directory.resolve()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    shell = UnitShell(units, vm, site, directory, accelerator)
    with lifetime(Machine(site, shell, accelerator, lab=lab, hooks=hooks)) as machine:
        _boot(machine)
        machine.execute("cloud-init", "status", "--wait", timeout=_CLOUD_INIT_S)
        yield machine


def _boot(machine: Machine) -> None:
    machine.shell.start(machine.deadline(LAUNCH_S, "QEMU to come up"))
    machine.wait_ready(machine.deadline(_BOOT_S, "the guest to boot"))


def save(machine: Machine, into: Path) -> None:
    """Turn a machine that was launched with this `save_into` into a template; ends it.

    Leaves `ram`, `state`, `disk.qcow2`, `seed.iso` and `machine.json`.
    """
    plan = machine.emulator.plan
    if plan.ram is None or not plan.ram.shared or plan.ram.path != into / "ram":
        raise HarnessError(
            f"{machine.name} was not launched to be saved into {into}",
            hint="pass save_into= to launch() or restore()",
        )
    boot_id = machine.boot_id
    machine.agent.close()
    deadline = machine.deadline(_SAVE_S, "the machine to be saved")
    kind = snapshot.save(machine.qmp(), into, deadline)
    machine.emulator.power_off(grace=30)
    machine.end()
    if kind == "internal":
        (into / "ram").unlink()
    if plan.seed is not None:
        shutil.copyfile(plan.seed, into / "seed.iso")
    SavedState(
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
        saved_at=time.time(),
    ).write(into)


def _resume(machine: Machine, saved: Path) -> None:
    """Let the saved guest run on, at today's time and known to its neighbours."""
    deadline = machine.deadline(_RESTORE_S, "the saved guest to answer")
    facts = SavedState.read(saved)
    snapshot.restore(machine.qmp(), saved, facts.kind, deadline)
    announce = {"initial": 20, "max": 500, "rounds": 5, "step": 100}
    machine.qmp().execute("announce-self", **announce)
    machine.wait_ready(deadline)
    machine.agent.set_time(deadline)
    if machine.boot_id != facts.boot_id:
        raise HarnessError(
            f"{machine.name}: has another boot id than the saved state",
            seen=f"boot id {machine.boot_id}, saved as {facts.boot_id}",
        )


@contextmanager
def lifetime(machine: Machine) -> Iterator[Machine]:
    """End the machine in any case; add its last lines to the error."""
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
