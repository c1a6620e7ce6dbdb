"""The steps that a shell takes for its machine, in order."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

INIT, TAP_UP, QEMU, QEMU_END, TAP_DOWN = (
    "init",
    "tap-up",
    "qemu",
    "qemu-end",
    "tap-down",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step that was taken; `at` is monotonic, `wall` since 1970, both seconds."""

    name: str
    at: float
    detail: str = ""
    wall: float = 0.0


@dataclass(slots=True)
class StepLog:
    """The steps of one machine, in memory and in `lifecycle.jsonl`."""

    path: Path
    taken: list[Step] = field(default_factory=list)

    def take(self, name: str, detail: str = "") -> None:
        """Note that a step was taken."""
        step = Step(name, time.monotonic(), detail, round(time.time(), 3))
        self.taken.append(step)
        with self.path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(step)) + "\n")

    @property
    def order(self) -> list[str]:
        """Names of the steps, in the order they were taken."""
        return [step.name for step in self.taken]

    def since(self, name: str) -> list[str]:
        """Names of the steps after the last one called `name`; all without one."""
        order = self.order
        return order[len(order) - order[::-1].index(name) :] if name in order else order
