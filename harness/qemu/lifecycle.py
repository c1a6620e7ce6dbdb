"""A machine's life as its unit has it: init → tap-up → qemu → tap-down.

The order is the module's, and it is kept in a journal, so that a suite can hold it to
account: init never touches what exists, tap-down comes whatever happened before it.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Protocol

from harness.errors import MachineError
from harness.qemu import disk, seed
from harness.qemu.launch import Emulator, launch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from ipaddress import IPv4Interface
    from pathlib import Path

    from harness.deadline import Deadline
    from harness.fleet import Vm
    from harness.qemu.cmdline import MachinePlan

INIT, TAP_UP, QEMU, QEMU_END, TAP_DOWN = (
    "init",
    "tap-up",
    "qemu",
    "qemu-end",
    "tap-down",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step that was taken; `at` is monotonic, seconds."""

    name: str
    at: float
    detail: str = ""


@dataclass(slots=True)
class StepLog:
    """The steps of a machine's life, in memory and in `lifecycle.jsonl`."""

    path: Path
    taken: list[Step] = field(default_factory=list)

    def take(self, name: str, detail: str = "") -> None:
        """Note that a step was taken."""
        step = Step(name, time.monotonic(), detail)
        self.taken.append(step)
        with self.path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(step)) + "\n")

    @property
    def order(self) -> list[str]:
        """Names of the steps, in the order they were taken."""
        return [step.name for step in self.taken]


class Lan(Protocol):
    """What a machine needs of a site: a way in, and a tap on its bridge."""

    def enter(self, argv: Sequence[str]) -> list[str]:
        """Prefix a command so that it runs inside."""
        ...

    def tap(self, machine_name: str) -> AbstractContextManager[str]:
        """Create a tap for the length of a `with`, and yield its name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Init:
    """The init oneshot: disk from the base image, seed from the spec.

    Both are made only where they are missing, so a second start changes nothing.
    """

    vm: Vm
    gateway: IPv4Interface
    base: Path
    disk: Path
    seed: Path

    def __call__(self, deadline: Deadline) -> str:
        """Make what is missing; return what was done, for the journal."""
        done = []
        if self.disk.exists():
            done.append("disk already present")
        else:
            disk.overlay(self.disk, self.base, deadline, size_g=self.vm.disk_size_g)
            done.append(f"disk created on {self.base}")
        if self.seed.exists():
            done.append("seed already present")
        else:
            seed.write(self.seed, seed.contents(self.vm, self.gateway))
            done.append("seed created")
        return ", ".join(done)


class Unit:
    """The running of one machine, start after start.

    `init` returns what it did; `plan` makes the command line's plan from the name of
    the tap, anew for each start. `beside` holds what runs beside QEMU, each time from
    before its start until after its end.
    """

    def __init__(
        self,
        name: str,
        lan: Lan,
        *,
        init: Callable[[Deadline], str],
        plan: Callable[[str], MachinePlan],
        journal: StepLog,
        beside: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.name = name
        self.journal = journal
        self._lan = lan
        self._init = init
        self._plan = plan
        self._beside = beside
        self._run: ExitStack | None = None
        self._emulator: Emulator | None = None

    @property
    def emulator(self) -> Emulator:
        """The QEMU of the last start, which may have ended. Raises MachineError."""
        if self._emulator is None:
            raise MachineError(f"{self.name} was never started")
        return self._emulator

    def start(self, deadline: Deadline) -> Emulator:
        """Take all steps up to a running QEMU; what is left of an earlier run goes."""
        self.close()
        with ExitStack() as stack:
            self.journal.take(INIT, self._init(deadline))
            stack.callback(self.journal.take, TAP_DOWN)
            tap = stack.enter_context(self._lan.tap(self.name))
            self.journal.take(TAP_UP, tap)
            stack.enter_context(self._beside())
            plan = self._plan(tap)
            emulator = stack.enter_context(
                launch(plan, deadline=deadline, enter=self._lan.enter)
            )
            self.journal.take(QEMU, f"pid {emulator.pid}")
            stack.callback(self._note_end, emulator)
            self._emulator = emulator
            self._run = stack.pop_all()
        return emulator

    def close(self) -> None:
        """End QEMU if it still runs, and take the tap down. Harmless when repeated."""
        if self._run is not None:
            run, self._run = self._run, None
            run.close()

    def _note_end(self, emulator: Emulator) -> None:
        emulator.power_off()
        how = " ".join(emulator.rungs) or "by itself"
        status = emulator.process.poll()
        self.journal.take(QEMU_END, f"{how}, exit status {status}")
