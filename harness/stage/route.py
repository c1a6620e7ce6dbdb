"""The way to a stage, through the stage that a fault adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.stage.graph import Stage, lineage

if TYPE_CHECKING:
    from harness.stage.inputs import RunInputs


def route(inputs: RunInputs, stage: str, vm: str) -> tuple[Stage, ...]:
    """Return the stages on the way to the named one, the fault's own among them.

    With no fault it is the lineage, so a healthy run shares no state with a faulty
    one. Raises HarnessError when there is no such stage.
    """
    fault = inputs.fault_of(vm)
    way: list[Stage] = []
    for each in lineage(stage):
        way.append(each)
        if fault and fault.injects_once and each.name == fault.after:
            name = f"{each.name}+{fault.name}"
            title = f"with {fault.name} injected"
            way.append(Stage(name, each.name, title, fault.inject_once))
    return tuple(way)
