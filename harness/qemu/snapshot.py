"""Saving a machine, and restoring any number of copies from it.

The way of choice leaves the guest's RAM in the file it lives in (`x-ignore-shared`) and
writes the state of the devices alone; a copy maps that file privately. Where QEMU does
not know that capability, RAM goes into the disk image as an internal snapshot.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from harness.deadline import poll
from harness.errors import HarnessError, MachineError

if TYPE_CHECKING:
    from pathlib import Path

    from harness.deadline import Deadline
    from harness.qemu.qmp import Qmp

TAG = "saved"
_IGNORE_SHARED = "x-ignore-shared"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class SavedState:
    """What `machine.json` says of a saved machine.

    `kind` is where its RAM is: in a template file of its own, or in the disk image.
    `mem` in MiB; `frozen_at` is seconds since 1970.
    """

    kind: Literal["template", "internal"]
    name: str
    mac: str
    mem: int
    vcpu: int
    machine_type: str
    accelerator: str
    cpu: str
    qemu: str
    boot_id: str
    saved_at: float

    def write(self, directory: Path) -> None:
        """Put it into the saved machine's directory, last of all files."""
        text = json.dumps({"format": _FORMAT, **asdict(self)}, indent=1) + "\n"
        partial = directory / "machine.json.partial"
        partial.write_text(text)
        partial.rename(directory / "machine.json")

    @classmethod
    def read(cls, directory: Path) -> SavedState:
        """Read it back. Raises HarnessError when it is not a saved machine."""
        try:
            facts = json.loads((directory / "machine.json").read_text())
            if facts.pop("format") == _FORMAT:
                return cls(**facts)
            seen = "another format"
        except (OSError, ValueError, TypeError, KeyError) as error:
            seen = str(error)
        raise HarnessError(
            f"not a saved machine: {directory}",
            seen=seen,
            hint="run `harness clean`; what is missing is built again",
        )


def save(
    qmp: Qmp, directory: Path, deadline: Deadline
) -> Literal["template", "internal"]:
    """Stop the guest and write down all but its disk and RAM; return the way taken.

    Expects RAM in a shared file; leaves the devices' state in `state`. QEMU can only
    be ended after this.
    """
    qmp.execute("stop")
    try:
        _ignore_shared(qmp)
    except MachineError:
        _run_job(qmp, "snapshot-save", deadline)
        return "internal"
    _write_state(qmp, directory / "state", deadline)
    return "template"


def _write_state(qmp: Qmp, path: Path, deadline: Deadline) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        qmp.give_fd("state", descriptor)
        qmp.execute("migrate", uri="fd:state")
        _await_migration(qmp, deadline)
    finally:
        os.close(descriptor)


def restore(qmp: Qmp, directory: Path, kind: str, deadline: Deadline) -> None:
    """Fill a paused QEMU with a saved state, then let it run."""
    if kind == "internal":
        _run_job(qmp, "snapshot-load", deadline)
    else:
        _ignore_shared(qmp)
        _read_state(qmp, directory / "state", deadline)
    qmp.execute("cont")


def _read_state(qmp: Qmp, path: Path, deadline: Deadline) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        qmp.give_fd("state", descriptor)
        qmp.execute("migrate-incoming", uri="fd:state")
        _await_migration(qmp, deadline)
    finally:
        os.close(descriptor)


def _ignore_shared(qmp: Qmp) -> None:
    capability = {"capability": _IGNORE_SHARED, "state": True}
    qmp.execute("migrate-set-capabilities", capabilities=[capability])


def _await_migration(qmp: Qmp, deadline: Deadline) -> None:
    def look() -> bool | None:
        facts = qmp.execute("query-migrate")
        status = facts.get("status", "none")
        if status in {"failed", "cancelled"}:
            raise MachineError(
                "the machine's state could not be moved",
                seen=facts.get("error-desc", status),
            )
        return True if status == "completed" else None

    poll(look, deadline, interval=0.005)


def _run_job(qmp: Qmp, command: str, deadline: Deadline) -> None:
    """Run one of QEMU's snapshot jobs on the system disk. Raises MachineError."""
    qmp.execute(command, job_id=TAG, tag=TAG, vmstate="disk", devices=["disk"])

    def look() -> dict[str, str] | None:
        jobs = {job["id"]: job for job in qmp.execute("query-jobs")}
        return jobs[TAG] if jobs[TAG]["status"] == "concluded" else None

    job = poll(look, deadline, interval=0.02)
    qmp.execute("job-dismiss", id=TAG)
    if "error" in job:
        raise MachineError(f"{command} failed", seen=job["error"])
