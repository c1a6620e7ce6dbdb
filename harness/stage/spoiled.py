"""A ground with a fault: one more stage after the one that the fault spoils.

Nothing of a healthy run depends on this: with no fault, routes and digests are what
they are without it, so the two never share a cached state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from harness.stage.graph import Ground, Stage, lineage

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.machine import Machine
    from harness.qemu import MachinePlan


class Spoiler(Protocol):
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
        """The stage that is spoiled."""
        ...

    @property
    def shell(self) -> str:
        """What a machine under test runs in: "vm", or "microvm" for the old world."""
        ...

    @property
    def spoils(self) -> bool:
        """Whether `spoil` does anything, so that a stage is worth it."""
        ...

    def touches(self, machine: str) -> bool:
        """Whether it is about the machine of this name."""
        ...

    def plan(self, plan: MachinePlan) -> MachinePlan:
        """Change the command line of a machine under test."""
        ...

    def spoil(self, machine: Machine, ground: Ground) -> None:
        """Change the machine of the stage `after`."""
        ...


@dataclass(frozen=True, slots=True)
class FaultyGround(Ground):
    """What every stage of a run under a fault stands on."""

    fault: Spoiler


def route(stage: str, vm: str, ground: Ground) -> tuple[Stage, ...]:
    """Return the stages on the way to the named one, the spoiled one among them.

    Raises HarnessError when there is no such stage.
    """
    line = lineage(stage)
    fault = fault_of(vm, ground)
    if fault is None or not fault.spoils:
        return tuple(line)
    way: list[Stage] = []
    for each in line:
        way.append(each)
        if each.name == fault.after:
            name = f"{each.name}+{fault.name}"
            title = f"spoiled by {fault.name}"
            way.append(Stage(name, each.name, title, fault.spoil))
    return tuple(way)


def fault_of(vm: str, ground: Ground) -> Spoiler | None:
    """Return the fault of a ground, if it has one and that is about this machine."""
    if isinstance(ground, FaultyGround) and ground.fault.touches(vm):
        return ground.fault
    return None


def adapter(vm: str, ground: Ground) -> Callable[[MachinePlan], MachinePlan]:
    """Return what has the last word on the command line of a machine under test."""
    fault = fault_of(vm, ground)
    return (lambda plan: plan) if fault is None else fault.plan


def shell(vm: str, ground: Ground) -> str:
    """Return what the machine runs in, which a fault alone can change."""
    fault = fault_of(vm, ground)
    return "vm" if fault is None else fault.shell
