"""The CPU time of a machine: how much it gets, and of which CPU."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from harness.shell import weight as weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.shell.protocol import Shell
    from harness.site import Site


class Cpu:
    """What a machine's QEMU gets of this computer's processors.

    A weight is no part of every start: how fast a machine is may not depend on what
    else runs on this computer.
    """

    def __init__(self, shell: Shell, site: Site) -> None:
        self._shell = shell
        self._site = site

    @contextmanager
    def weighed(self, weight: int | None = None) -> Iterator[None]:
        """Give QEMU the spec's `cpuWeight`, or another, for the length of the `with`.

        Raises HostError where this computer permits no weights.
        """
        own = weight or self._shell.vm.cpu_weight or weights.DEFAULT
        with self._shell.weighed(own):
            yield

    @property
    def weight(self) -> int:
        """The weight of the control group that QEMU is in, as the kernel has it."""
        return weights.weight_of(self._site, self._pid)

    @contextmanager
    def pinned(self, number: int) -> Iterator[None]:
        """Keep all of QEMU on one processor for the length of the `with`."""
        before = os.sched_getaffinity(0)
        self._pin({number})
        try:
            yield
        finally:
            self._pin(before)

    @property
    def seconds(self) -> float:
        """CPU time that QEMU has used so far, all its threads together."""
        times = psutil.Process(self._pid).cpu_times()
        return float(times.user + times.system)

    @property
    def waited(self) -> float:
        """Time that its threads could have run and did not get to, all together."""
        tasks = Path(f"/proc/{self._pid}/task").glob("*/schedstat")
        total = 0
        for task in tasks:
            with suppress(OSError):  # a thread may end as we look
                total += int(task.read_text().split()[1])
        return total / 1e9

    @property
    def _pid(self) -> int:
        return self._shell.emulator.pid

    def _pin(self, numbers: set[int]) -> None:
        for task in Path(f"/proc/{self._pid}/task").glob("*"):
            with suppress(ProcessLookupError):  # a thread may end as we look
                os.sched_setaffinity(int(task.name), numbers)
