"""What a report keeps of a machine, alive or dead."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.errors import GuestFailure, HarnessError, MachineError

if TYPE_CHECKING:
    from pathlib import Path

    from harness.machine.handle import Machine

_KEPT = (
    "argv.txt",
    "console.log",
    "lifecycle.jsonl",
    "qemu.log",
    "qmp.jsonl",
    "units.log",
)
_JOURNAL = ("journalctl", "-o", "json", "--no-pager", "-n", "5000")


def collect(machine: Machine, into: Path) -> None:
    """Copy console, QMP, command line, steps and journal; never raises.

    Evidence of a broken machine is wanted most. Where the journal could not be had, a
    file says why.
    """
    into.mkdir(parents=True, exist_ok=True)
    sources = [machine.directory]
    with suppress(MachineError):
        sources.append(machine.emulator.plan.directory)
    for source in sources:
        for name in _KEPT:
            if (source / name).exists():
                shutil.copyfile(source / name, into / name)
    try:
        said = machine.execute(*_JOURNAL, timeout=20).check().stdout
        (into / "journal.json").write_text(said)
    except (HarnessError, GuestFailure) as error:
        (into / "journal.missing.txt").write_text(f"{error}\n")
