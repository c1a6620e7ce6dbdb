"""`shell-lifecycle`: the order of steps, and what crash, stop and deploy leave."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from harness import GuestFailure, NotExercised

if TYPE_CHECKING:
    from harness import Machine, Recorder, Site

pytestmark = [
    pytest.mark.criterion("shell-lifecycle"),
    pytest.mark.stage("cloud"),
    pytest.mark.disruptive,
]

_START = ["init", "tap-up", "qemu"]
_END = ["qemu-end", "tap-down"]
_CANARY = "/root/canary"
_MORE_MIB = 256
# Of ext4, when it finds a journal to replay or files that nobody names any more.
_RECOVERY = re.compile(r"EXT4-fs .*(?:recovery complete|orphan cleanup).*")


@pytest.mark.scenario("crash")
def test_crash_and_second_start(dev: Machine, site: Site, check: Recorder) -> None:
    """After a crash the tap is gone, and init leaves the disk alone."""
    check.check(
        "steps come in order",
        dev.steps.order == _START,
        f"{' → '.join(dev.steps.order)}, expected {' → '.join(_START)}",
    )
    boot_id = dev.boot_id
    dev.write_file(_CANARY, boot_id)
    dev.succeed("sync")
    disk = dev.disk.stat()

    dev.crash()
    check.check(
        "tap-down comes after a crash of QEMU too",
        dev.steps.order == _START + _END,
        " → ".join(dev.steps.order),
    )
    check.check("no tap is left", not site.taps(), f"left: {site.taps()}")

    dev.start()
    if dev.boot_id == boot_id:
        raise NotExercised("the second start booted anew")
    again = dev.disk.stat()
    check.check(
        "init does not touch an existing disk",
        again.st_ino == disk.st_ino,
        f"disk is another file: inode {disk.st_ino} became {again.st_ino}",
    )
    check.check(
        "what the guest wrote is still there",
        dev.execute("cat", _CANARY).stdout == boot_id,
        f"{_CANARY} is lost: init made a new disk",
    )
    steps = dev.steps.taken[len(_START + _END) :]
    check.check(
        "init says that it found everything",
        "already present" in steps[0].detail,
        f"init: {steps[0].detail}",
    )
    _judge_tap(dev, site, check)


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(
            "cloud", marks=[pytest.mark.stage("cloud"), pytest.mark.scenario("stop")]
        ),
        pytest.param(
            "onboarded",
            marks=[
                pytest.mark.stage("onboarded"),
                pytest.mark.scenario("stop-onboarded"),
            ],
        ),
    ],
)
def test_shutdown_is_the_guests_own(
    dev: Machine, site: Site, check: Recorder, stage: str
) -> None:
    """Stopping the unit lets the guest end itself; it is no power cut."""
    check.note(f"power button pressed at stage {stage}")
    boot_id = dev.boot_id
    # Not synced on purpose: whoever ends by himself writes it out.
    dev.write_file(_CANARY, boot_id)
    mark = dev.console.size
    try:
        dev.shutdown()
        ended = "by itself"
    except GuestFailure as cut:
        ended = str(cut)
    check.check("the guest ends by itself", ended == "by itself", ended)
    said = dev.console.since(mark)
    check.check(
        "the guest reached its own power-off",
        "reboot: Power down" in said or "Powering off" in said,
        f"last on the console: {said.splitlines()[-3:]}",
    )
    check.check("no tap is left", not site.taps(), f"left: {site.taps()}")
    check.check(
        "tap-down comes last",
        dev.steps.order[-2:] == _END,
        " → ".join(dev.steps.order),
    )

    dev.start()
    if dev.boot_id == boot_id:
        raise NotExercised("the second start booted anew")
    check.check(
        "what the guest wrote last is still there",
        dev.execute("cat", _CANARY).stdout == boot_id,
        f"{_CANARY} is lost: the guest's caches were not written out",
    )
    recovered = _RECOVERY.findall(dev.succeed("dmesg"))
    check.check(
        "the file systems were left clean", not recovered, f"kernel: {recovered}"
    )


@pytest.mark.scenario("reboot")
def test_reboot_from_inside(dev: Machine, site: Site, check: Recorder) -> None:
    """A guest that reboots comes back by itself, with its tap and its address."""
    boot_id = dev.boot_id
    try:
        back = dev.reboot().new
    except GuestFailure as gone:
        back = str(gone)
    check.require(
        "a reboot from inside comes back",
        dev.running and back == dev.boot_id != boot_id,
        f"boot id was {boot_id}, then: {back}",
    )
    dev.wait_for_open_port(22)
    _judge_tap(dev, site, check)
    owners = site.client.arping(dev.vm.ip, window=1.0)
    check.check(
        "its address is its own",
        owners == {dev.vm.mac},
        f"{sorted(owners)} answer for {dev.vm.ip}",
    )


@pytest.mark.scenario("deploy")
def test_deploy_of_the_host(dev: Machine, check: Recorder) -> None:
    """The host gets another QEMU, the VM another size: what runs goes on running."""
    boot_id, pid, mem = dev.boot_id, dev.emulator.pid, dev.system.memory_mib()
    dev.deploy(mem=dev.vm.mem + _MORE_MIB)
    check.check(
        "a deploy of the host leaves the machine running",
        dev.running and dev.emulator.pid == pid and dev.boot_id == boot_id,
        f"QEMU was {pid}, is {dev.emulator.pid}; boot id was {boot_id}, "
        f"is {dev.boot_id}",
    )
    dev.crash()
    dev.start()
    grown = dev.system.memory_mib() - mem
    check.check(
        "the next start has what was deployed",
        abs(grown - _MORE_MIB) <= _MORE_MIB // 4,
        f"{_MORE_MIB} MiB were added, the guest sees {grown} more",
    )


def _judge_tap(dev: Machine, site: Site, check: Recorder) -> None:
    """Hold a running machine to one tap, and that on the bridge."""
    check.check(
        "one tap, on the bridge",
        site.taps() == [dev.tap] and dev.tap in site.ports(),
        f"taps {site.taps()}, on the bridge {sorted(site.ports())}",
    )
