"""The records of a machine in a report, running or ended."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Protocol

from harness.errors import GuestFailure, HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.guest.transport import CommandResult


class Execute(Protocol):
    """Runs a command in the guest, as `Machine.execute` does."""

    def __call__(self, *words: str, timeout: float) -> CommandResult:
        """Run it to its end."""


_KEPT = (
    "argv.txt",
    "console.log",
    "lifecycle.jsonl",
    "qemu.log",
    "qmp.jsonl",
    "systemd.log",
    "units.log",
)
_JOURNAL = ("journalctl", "-o", "json", "--no-pager", "-n", "5000")


def collect(sources: Sequence[Path], execute: Execute, into: Path) -> None:
    """Copy console, QMP, command line, steps and journal; never raises.

    Evidence of a broken machine is wanted most. Where the journal could not be had, a
    file says why.
    """
    into.mkdir(parents=True, exist_ok=True)
    for source in sources:
        for name in _KEPT:
            if (source / name).exists():
                shutil.copyfile(source / name, into / name)
    try:
        said = execute(*_JOURNAL, timeout=20).check().stdout
        (into / "journal.json").write_text(said)
    except (HarnessError, GuestFailure) as error:
        (into / "journal.missing.txt").write_text(f"{error}\n")
