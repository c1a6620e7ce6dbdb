"""`harness up`: run a machine in a terminal until Ctrl-C."""

from __future__ import annotations

import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.access import addresses, set_password
from harness.cli.inputs import (
    DEFAULT_ACCEL,
    DEFAULT_FLEET,
    AccelChoice,
    FaultName,
    FleetFile,
    StageOption,
    make_testbed,
)
from harness.cli.say import err, live, out
from harness.errors import GuestFailure, HarnessError, InputError, Mistake
from harness.signals import CommandEnded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from ipaddress import IPv4Address

    from harness.machine import Machine
    from harness.testbed import MachineFactory

_LOOK_S = 0.5  # how often to look whether QEMU still runs


def up(
    vm: Annotated[
        str | None,
        typer.Argument(help="a VM of the fleet  [default: dev]"),
    ] = None,
    stage: StageOption = "onboarded",
    *,
    autostart: Annotated[
        bool,
        typer.Option("--autostart", help="all VMs with autostart"),
    ] = False,
    fleet: FleetFile = DEFAULT_FLEET,
    accel: AccelChoice = DEFAULT_ACCEL,
    fault: FaultName = None,
) -> None:
    """Run a machine until Ctrl-C, and say how to reach it."""
    if autostart and vm:
        both = Mistake("command line", "VM", vm, "left out where --autostart chooses")
        raise InputError("which machines?", [both])
    wanted = None if autostart else vm or "dev"
    with live("starting") as progress:
        testbed = make_testbed(
            fleet, accel, progress, vm=wanted, stage=stage, fault=fault
        )
        names = (wanted,) if wanted else testbed.inputs.fleet.autostarted
        for name in names:
            testbed.stages.ensure(stage, name)
    with interrupts_held(), testbed.open(stage) as factory:
        machines = start(factory, names)
        for machine in machines:
            _introduce(machine, stage)
            # QEMU serves one client of the agent's socket: leave it to `harness sh`.
            machine.agent.close()
        out.print("Ctrl-C here takes it all down.")
        try:
            _wait(machines)
        except CommandEnded as end:
            with suppress(OSError):  # of a terminal that is closed already
                out.print(f"\nTaking it down: {end}.")
            raise
        out.print("\nTaking it down.")


def start(factory: MachineFactory, names: Sequence[str]) -> list[Machine]:
    """Start machines and make them known to other terminals."""
    with live("restoring"):
        machines = [factory(vm=name) for name in names]
    if fault := factory.testbed.inputs.fault:
        err.print(f"Fault {fault.name} is in force: {fault.story()}.", markup=False)
        if spared := [name for name in names if not fault.affects(name)]:
            err.print(f"It does not change {', '.join(spared)}.")
    return machines


def introduction(
    machine: Machine, stage: str, address: IPv4Address, password: str
) -> str:
    """Say what runs, what reaches it, and from where its address is reachable."""
    name, vm = machine.name, machine.vm
    known = [each for each, ip in machine.site.network.hosts.items() if ip == address]
    called = f" ({', '.join(known)})" if known else ""
    root = f"root's password is {password}" if password else "root has no password"
    return (
        f"{name} runs at stage {stage}: {vm.mem} MiB, {vm.vcpu} vcpu, "
        f"{machine.accelerator.name}.\n"
        f"Its address {address}{called} is known in its own LAN alone; nothing on this "
        "computer reaches it but:\n\n"
        f"  harness sh {name}             a shell as root; or: sh {name} COMMAND\n"
        f"  harness console {name}        its serial console; {root}\n"
        f"  harness monitor {name}        QEMU's monitor; Ctrl-] leaves both\n"
        f"  harness client COMMAND     on the LAN's client, such as: ping {address}\n"
        f"  harness open               lab's page in a browser here\n\n"
        f"Its files: {machine.directory}"
    )


def _introduce(machine: Machine, stage: str) -> None:
    try:
        password = set_password(machine, machine.directory)
    except (HarnessError, GuestFailure) as error:
        password = ""
        err.print(f"{machine.name}: {error}", markup=False)
    address = machine.vm.ip
    with suppress(HarnessError):
        address = next(iter(addresses(machine.agent, address)), address)
    out.print(introduction(machine, stage, address, password), markup=False)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Keep Ctrl-C waiting until `_wait` asks for it.

    The terminal sends it to all children too, and QEMU or the site would end before we
    can take them down in order; blocked signals are inherited, across exec as well.
    """
    held = {signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        while signal.sigtimedwait(held, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held)


def _wait(machines: Sequence[Machine]) -> None:
    """Return at Ctrl-C. Raises when a machine dies before."""
    while signal.sigtimedwait({signal.SIGINT}, _LOOK_S) is None:
        for machine in machines:
            machine.check()
