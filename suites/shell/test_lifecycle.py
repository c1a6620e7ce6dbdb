"""`shell-lifecycle`: the order of steps, and what crash, stop and deploy leave."""

import pytest

from harness import GuestFailure, Machine, NotExercised, Recorder, Site
from suites.shell.checks import lifecycle as checks

pytestmark = [
    pytest.mark.criterion("shell-lifecycle"),
    pytest.mark.stage("cloud"),
    pytest.mark.disruptive,
]

_CANARY = "/root/canary"
_MORE_MIB = 256


@pytest.mark.scenario("crash")
def test_crash_and_second_start(dev: Machine, site: Site, check: Recorder) -> None:
    """After a crash the tap is gone, and init leaves the disk alone."""
    check(checks.starts(dev.steps.order))
    boot_id = dev.boot_id
    dev.write_file(_CANARY, boot_id)
    dev.succeed("sync")
    disk = dev.disk.stat()

    dev.crash()
    steps = dev.steps.order
    check(checks.crashes(steps))
    check(checks.leaves_no_tap("a crash", site.taps()))

    dev.start()
    _must_have_booted(dev, boot_id)
    inodes = disk.st_ino, dev.disk.stat().st_ino
    contents = boot_id, dev.execute("cat", _CANARY).stdout
    init = dev.steps.taken[len(steps)]
    check(checks.keeps_disk(inodes, contents, init.detail))
    _judge_tap(dev, site, check, "the start after a crash")


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
    # Not synced on purpose: a guest that ends itself writes it out.
    dev.write_file(_CANARY, boot_id)
    mark, cut = dev.console.size, ""
    try:
        dev.shutdown()
    except GuestFailure as error:
        cut = str(error)
    stop = checks.Stop(cut, dev.console.since(mark), dev.steps.order)
    check(checks.shuts_down(stop))
    check(checks.leaves_no_tap("a stop of the unit", site.taps()))

    dev.start()
    _must_have_booted(dev, boot_id)
    contents = boot_id, dev.execute("cat", _CANARY).stdout
    check(checks.keeps_last_write(contents, dev.succeed("dmesg")))


@pytest.mark.scenario("reboot")
def test_reboot_from_inside(dev: Machine, site: Site, check: Recorder) -> None:
    """A guest that reboots comes back without help, with its tap and its address."""
    boot_id = dev.boot_id
    try:
        back = dev.reboot().new
    except GuestFailure as gone:
        back = str(gone)
    check.require(checks.reboots(boot_id, back, _running(dev) if dev.running else None))
    dev.wait_for_open_port(22)
    _judge_tap(dev, site, check, "a reboot from inside")
    check(checks.owns_address(site.client.arping(dev.vm.ip, window=1.0), dev.vm))


@pytest.mark.scenario("deploy")
def test_deploy_of_the_host(dev: Machine, check: Recorder) -> None:
    """The host gets another QEMU, the VM another size: what runs goes on running."""
    before, mem = _running(dev), dev.system.memory_mib()
    dev.deploy(mem=dev.vm.mem + _MORE_MIB)
    check(checks.keeps_running(before, _running(dev)))
    dev.crash()
    dev.start()
    after = dev.system.memory_mib()
    check(checks.gets_deployed_memory(mem, after, _MORE_MIB))


def _running(dev: Machine) -> checks.Running:
    return checks.Running(dev.running, dev.emulator.pid, dev.boot_id)


def _must_have_booted(dev: Machine, before: str) -> None:
    """Raise NotExercised where the guest is still in its first boot."""
    if dev.boot_id == before:
        raise NotExercised(
            "the second start to boot the guest", seen=f"its boot ID is still {before}"
        )


def _judge_tap(dev: Machine, site: Site, check: Recorder, during: str) -> None:
    check(checks.has_one_tap(during, dev.tap, site.taps(), site.ports()))
