"""A ground with a fault: one more stage after the one that the fault spoils.

Nothing of a healthy run depends on this: with no fault, routes and digests are what
they are without it, so the two never share a cached state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from harness.stage.graph import RunInputs, Stage, lineage

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.machine import Machine
    from harness.qemu import MachinePlan


class Injection(Protocol):
    """What stages need to know of a fault (`harness.fault.Fault`)."""

    @property
    def name(self) -> str:
        """Its name, fit for a file."""
        ...

    @property
    def digest(self) -> str:
        """A digest of the code that spoils."""
        ...

    @property
    def after(self) -> str:
        """The stage that its own comes after."""
        ...

    @property
    def shell(self) -> str:
        """What a machine under test runs in: "vm", or "microvm" for the old world."""
        ...

    @property
    def injects_once(self) -> bool:
        """Whether `spoil` does anything, so that a stage is worth it."""
        ...

    def affects(self, machine: str) -> bool:
        """Whether it is about the machine of this name."""
        ...

    def alter_command_line(self, plan: MachinePlan) -> MachinePlan:
        """Change the command line of a machine under test."""
        ...

    def inject_once(self, machine: Machine, inputs: RunInputs) -> None:
        """Change the machine of the stage `after`."""
        ...


@dataclass(frozen=True, slots=True)
class FaultyInputs(RunInputs):
    """What every stage of a run under a fault stands on."""

    fault: Injection


def route(stage: str, vm: str, inputs: RunInputs) -> tuple[Stage, ...]:
    """Return the stages on the way to the named one, the fault's own among them.

    Raises HarnessError when there is no such stage.
    """
    line = lineage(stage)
    fault = fault_of(vm, inputs)
    if fault is None or not fault.injects_once:
        return tuple(line)
    way: list[Stage] = []
    for each in line:
        way.append(each)
        if each.name == fault.after:
            name = f"{each.name}+{fault.name}"
            title = f"with {fault.name} injected"
            way.append(Stage(name, each.name, title, fault.inject_once))
    return tuple(way)


def fault_of(vm: str, inputs: RunInputs) -> Injection | None:
    """Return the fault of a ground, if it has one and that is about this machine."""
    if isinstance(inputs, FaultyInputs) and inputs.fault.affects(vm):
        return inputs.fault
    return None


def adapter(vm: str, inputs: RunInputs) -> Callable[[MachinePlan], MachinePlan]:
    """Return what has the last word on the command line of a machine under test."""
    fault = fault_of(vm, inputs)
    return (lambda plan: plan) if fault is None else fault.alter_command_line


def shell(vm: str, inputs: RunInputs) -> str:
    """Return what the machine runs in, which a fault alone can change."""
    fault = fault_of(vm, inputs)
    return "vm" if fault is None else fault.shell
