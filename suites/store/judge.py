"""When a store is unhurt: all that lives reads back, and it is the guest's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import NotExercised

if TYPE_CHECKING:
    from harness import Collection, Machine, Reading, Recorder

# Devices through which a host can share its files; none may be in the subject.
_SHARES = ("virtfs", "fsdev", "9p", "vhost-user-fs", "virtiofs")


def must_have_collected(collection: Collection, what: str) -> None:
    """Tell a collection that hurt nothing from one that did nothing."""
    if collection.deleted < 1:
        raise NotExercised(
            f"{what} deleted something",
            seen=f"exit status {collection.rc}: {collection.output[-800:]}",
        )


def judge_reading(check: Recorder, event: str, reading: Reading) -> None:
    """Hold every regular file of every live closure to reading back in full."""
    check.check(
        "every file of every live closure reads back",
        reading.clean,
        f"{event}: {reading.files} files of {reading.paths} paths, {reading.bytes} of "
        f"{reading.expected_bytes} bytes, errors {dict(reading.errors)}: "
        f"{'; '.join(reading.complaints[:3])}",
    )


def judge_store(check: Recorder, event: str, machine: Machine) -> None:
    """Hold the store, its users and the kernel to having noticed nothing."""
    verified = machine.store.verify()
    check.check(
        "the store verifies against its database",
        verified.clean,
        f"{event}: {'; '.join(verified.problems[:5]) or verified.output[-300:]}",
    )
    deleted = machine.store.deleted_mappings()
    check.check(
        "no process runs or maps a deleted store file",
        not deleted,
        f"{event}: {deleted[:5]}",
    )
    complaints = machine.store.kernel_complaints()
    check.check(
        "the kernel complains of no stale handle",
        not complaints,
        f"{event}: {'; '.join(complaints[:5])}",
    )


def judge_ownership(check: Recorder, machine: Machine) -> None:
    """Hold the store to being the guest's own, on a disk of its own."""
    foreign = machine.store.foreign_mounts()
    check.check(
        "nothing under /nix comes from another machine",
        not foreign,
        "; ".join(f"{m.point} is {m.fstype} from {m.source}" for m in foreign),
    )
    shares = [word for word in machine.argv if any(s in word for s in _SHARES)]
    check.check(
        "the VM has no share device", not shares, f"QEMU's arguments have {shares}"
    )
