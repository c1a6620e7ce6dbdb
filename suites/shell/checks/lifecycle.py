"""What decides `shell-lifecycle`: the order of steps, taps, disks and reboots."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from harness import (
    Check,
    Quantity,
    Vm,
    absent,
    at_most,
    contains,
    differs_from,
    present,
)

START = ("init", "tap-up", "qemu")
END = ("qemu-end", "tap-down")
_POWER_OFF = ("reboot: Power down", "Powering off")
# Of ext4, when it finds a journal to replay or files that have no name any more.
_RECOVERY = re.compile(r"EXT4-fs .*(?:recovery complete|orphan cleanup).*")


@dataclass(frozen=True, slots=True)
class Running:
    """A machine at one moment: whether QEMU runs, its PID, and the guest's boot ID."""

    qemu: bool
    pid: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class Stop:
    """How a stop of the unit went.

    `cut` says why it was no shutdown by the guest, empty where it was one; `console` is
    what the guest printed since.
    """

    cut: str
    console: str
    steps: Sequence[str]


def starts(steps: Sequence[str]) -> Check:
    """Check the steps of a start."""
    return Check("a start takes init, tap-up and qemu", steps, START, of="steps")


def crashes(steps: Sequence[str]) -> Check:
    """Check that tap-down follows a crash of QEMU."""
    return Check(
        "tap-down runs after a crash of QEMU", steps, (*START, *END), of="steps"
    )


def leaves_no_tap(during: str, taps: Collection[str]) -> Check:
    """Check that no tap outlives its machine."""
    return Check("no tap is left", taps, absent(), of="taps", during=during)


def has_one_tap(
    during: str, tap: str, taps: Sequence[str], ports: Collection[str]
) -> Check:
    """Check that a running machine has one tap, which is on the bridge."""
    return Check(
        "exactly one tap is on the bridge",
        {"taps": taps, "on the bridge": [name for name in taps if name in ports]},
        {"taps": [tap], "on the bridge": [tap]},
        during=during,
    )


def keeps_disk(
    inodes: tuple[int, int], contents: tuple[str, str], init: str
) -> Iterator[Check]:
    """Check that init leaves an existing disk alone.

    `inodes` are those of the disk before and after, `contents` those of a file in it,
    `init` is what init reported.
    """
    during = "the start after a crash"
    before, after = inodes
    yield Check("init keeps an existing disk", after, before, of="inode", during=during)
    before_text, after_text = contents
    yield Check(
        "data from before a crash is on the disk",
        after_text,
        before_text,
        of="content of the file",
        during=during,
    )
    yield Check(
        "init reports that the disk is already present",
        init,
        contains("already present"),
        of="init",
        during=during,
    )


def shuts_down(stop: Stop) -> Iterator[Check]:
    """Check that a stop of the unit is a shutdown by the guest, not a power cut."""
    during = "a stop of the unit"
    yield Check(
        "the guest shuts down when its unit stops",
        stop.cut or None,
        absent(),
        of="failure of the shutdown",
        during=during,
        steps=stop.steps,
    )
    lines = [line.strip() for line in stop.console.splitlines() if line.strip()]
    yield Check(
        "the guest reaches its own power-off",
        [line for line in lines if any(text in line for text in _POWER_OFF)],
        present(),
        of="console lines about it",
        during=during,
        last_on_the_console=lines[-3:],
    )
    yield Check("tap-down comes last", stop.steps[-2:], END, of="last steps")


def keeps_last_write(contents: tuple[str, str], kernel: str) -> Iterator[Check]:
    """Check that a stop writes out the guest's caches and leaves clean file systems.

    `contents` are those of a file before and after, `kernel` is the log of the start
    after.
    """
    during = "the start after a stop"
    before, after = contents
    yield Check(
        "data written just before a stop is on the disk",
        after,
        before,
        of="content of the file",
        during=during,
    )
    yield Check(
        "a stop leaves the file systems clean",
        _RECOVERY.findall(kernel),
        absent(),
        of="recoveries in the kernel's log",
        during=during,
    )


def reboots(before: str, back: str, now: Running | None) -> Iterator[Check]:
    """Check that a reboot from inside boots the guest, in a machine that runs on.

    `back` is the boot ID after it, or why there is none; `now` is None without QEMU.
    """
    during = "a reboot from inside"
    yield Check(
        "QEMU runs on when the guest reboots",
        now is not None and now.qemu,
        True,
        of="QEMU is running",
        during=during,
    )
    yield Check(
        "a reboot from inside comes back",
        back,
        now.boot_id if now else "one of a running guest",
        of="boot ID",
        during=during,
    )
    yield Check(
        "a reboot from inside is a new boot",
        back,
        differs_from(before),
        of="boot ID",
        during=during,
    )


def owns_address(owners: Collection[str], vm: Vm) -> Check:
    """Check that only the machine answers for its address."""
    return Check(
        "only the machine answers for its address after a reboot",
        owners,
        [vm.mac],
        of=f"MACs that answer for {vm.ip}",
    )


def keeps_running(before: Running, after: Running) -> Check:
    """Check that a deploy of the host leaves QEMU and the guest running."""
    return Check(
        "a deploy of the host leaves the machine running",
        after,
        before,
        of="machine",
        during="a deploy of the host",
    )


def gets_deployed_memory(before: int, after: int, added: int) -> Check:
    """Check that the next start has the memory that was deployed; all are in MiB.

    Firmware and kernel keep some of what is added, a quarter at most.
    """
    return Check(
        "the next start has the deployed memory",
        Quantity(abs(after - before - added), "MiB"),
        at_most(Quantity(added // 4, "MiB")),
        of="difference from what was added",
        during="the start after a deploy of the host",
        added=Quantity(added, "MiB"),
        guest_had=Quantity(before, "MiB"),
        guest_has=Quantity(after, "MiB"),
    )
