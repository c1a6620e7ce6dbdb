"""What the report records of a test's machines, and holding them at a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.plugin.options import SETTINGS
from harness.plugin.run import current
from harness.plugin.session import PHASES
from harness.testbed import Observer

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from harness.machine import Machine


class UsedMachines(Observer):
    """Records the machines of one test; `--keep-machines` holds those of a failure."""

    def __init__(self, item: pytest.Item) -> None:
        self.item = item
        self.name = item.nodeid
        self.current = current(item)

    def starting(self, vm: str, directory: Path) -> Path:
        """Record that the test uses a machine; return where its evidence belongs."""
        return self.current.machine(vm, directory)

    def continues(self, saved: Path) -> None:
        """Remember what to check before a failure is believed."""
        self.current.saved.append(saved)

    def started(self, machine: Machine, seconds: float) -> None:
        """Record how long it took."""
        kind = "cold-boot" if machine.restored_from is None else "restore"
        self.current.run.timing(kind, round(seconds, 3))

    def ending(self, machine: Machine) -> None:
        """Wait for Enter, where the test failed and machines are to be kept."""
        phases = self.item.stash.get(PHASES, [])
        unhappy = any(phase.ended.bad for phase in phases)
        if unhappy and self.item.config.stash[SETTINGS].keep_machines:
            hold(self.item, f"{machine.name} keeps running in {machine.directory}")

    def note(self, text: str) -> None:
        """Write a remark into the test's record."""
        self.current.recorder.note(text)


def hold(item: pytest.Item, text: str) -> None:
    """Wait at the terminal until Enter is pressed."""
    item.config.pluginmanager.hook.pytest_timeout_cancel_timer(item=item)
    capture = item.config.pluginmanager.getplugin("capturemanager")
    capture.suspend(in_=True)
    try:
        print(f"\n{text}\n`harness sh` and `harness console` reach it.")  # noqa: T201
        input("Press Enter to take it down. ")
    finally:
        capture.resume()
