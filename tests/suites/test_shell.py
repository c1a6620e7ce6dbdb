"""`shell-*` and `two-consumers`: each change of what was observed fails its check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness import Budgets, CommandLine, CommandResult, InodeSample, Units
from harness.fleet import load_fleet
from harness.shell.units import LoadedUnit
from suites.shell.checks import consumers, lifecycle, options
from tests.gates.source import ROOT
from tests.suites.observed import failed

FLEET = load_fleet(ROOT / "fleet.toml")
VM = FLEET.vms["dev"]
BUDGETS = Budgets()
TAP = VM.tap
RUNNING = lifecycle.Running(qemu=True, pid=7, boot_id="b1")
STOPPED = lifecycle.Stop("", "[  9.1] reboot: Power down\n", ("qemu-end", "tap-down"))
ASKED = CommandLine(
    mem=float(VM.mem),
    vcpu=VM.vcpu,
    macs=(VM.mac.upper(),),
    taps=(TAP,),
    files=("disk.qcow2", "seed.iso"),
    direct=(),
)
MAIN = LoadedUnit(
    name="vm-dev.service",
    oneshot=False,
    pulls=frozenset(),
    requires=frozenset(),
    after=frozenset(),
    wanted_by=("multi-user.target",),
    weight=VM.cpu_weight,
    stop_timeout=90.0,
    outlives_a_deploy=True,
)
UNITS = Units((), (), (), MAIN, (), ())


@pytest.mark.parametrize(
    ("back", "now", "names"),
    [
        ("b2", replace(RUNNING, boot_id="b2"), set()),
        (
            "b1",
            RUNNING,
            {"a reboot from inside is a new boot"},
        ),
        ("b2", RUNNING, {"a reboot from inside comes back"}),
        (
            "QEMU ended",
            None,
            {
                "QEMU runs on when the guest reboots",
                "a reboot from inside comes back",
            },
        ),
    ],
)
def test_a_reboot(back: str, now: lifecycle.Running | None, names: set[str]) -> None:
    """QEMU runs on, and the guest is in a new boot."""
    assert failed(lifecycle.reboots("b1", back, now)) == names


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, set()),
        ({"cut": "SIGTERM"}, {"the guest shuts down when its unit stops"}),
        ({"console": "login: "}, {"the guest reaches its own power-off"}),
        ({"steps": ("tap-down", "qemu-end")}, {"tap-down comes last"}),
    ],
)
def test_a_stop(change: dict[str, Any], names: set[str]) -> None:
    """A shutdown by the guest, seen on its console, then the tap."""
    assert failed(lifecycle.shuts_down(replace(STOPPED, **change))) == names


def test_taps_and_disk() -> None:
    """A tap off the bridge, a second one and a new disk each fail."""
    assert lifecycle.has_one_tap("it", TAP, [TAP], {TAP}).held
    assert not lifecycle.has_one_tap("it", TAP, [TAP], set()).held
    assert not lifecycle.has_one_tap("it", TAP, [TAP, "x"], {TAP}).held
    assert not lifecycle.leaves_no_tap("it", [TAP]).held
    kept = lifecycle.keeps_disk((5, 5), ("b1", "b1"), "disk already present")
    assert failed(kept) == set()
    assert failed(lifecycle.keeps_disk((5, 6), ("b1", ""), "disk made")) == {
        "init keeps an existing disk",
        "data from before a crash is on the disk",
        "init reports that the disk is already present",
    }


def test_a_deploy_of_the_host() -> None:
    """Another PID or boot fails; the memory may miss a quarter of what was added."""
    assert not lifecycle.keeps_running(RUNNING, replace(RUNNING, pid=8)).held
    assert not lifecycle.keeps_running(RUNNING, replace(RUNNING, boot_id="b2")).held
    assert lifecycle.gets_deployed_memory(900, 900 + 192, 256).held
    assert not lifecycle.gets_deployed_memory(900, 900, 256).held


@pytest.mark.parametrize(
    ("total", "names"),
    [
        (VM.mem - 100, set()),
        (VM.mem // 2, {"the guest has the memory that mem says"}),
        (VM.mem + 1, {"the guest has no more memory than mem says"}),
    ],
)
def test_memory(total: int, names: set[str]) -> None:
    """Too little and too much both fail."""
    assert failed(options.memory(total, VM, BUDGETS)) == names


def test_what_the_guest_sees() -> None:
    """Processors, NICs, addresses and cloud-init's report each have a check."""
    assert options.processors(f"0-{VM.vcpu - 1}", VM).held
    assert not options.processors("0", VM).held
    assert failed(options.network([VM.mac], [VM.ip], VM)) == set()
    assert len(failed(options.network([VM.mac, "x"], [VM.ip, VM.ip], VM))) == 2
    status = CommandResult(("cloud-init",), 0, "status: done\ndetail: NoCloud", "")
    assert failed(options.seed_applied(status, "dev", "dev")) == set()
    nothing = replace(status, stdout="status: error\ndetail: None")
    assert len(failed(options.seed_applied(nothing, "localhost", "dev"))) == 3


def test_the_disk() -> None:
    """A disk of another size, a root that was not grown, too few inodes."""
    mib = VM.disk_size_g * 1024
    grown = InodeSample("/", "ext4", 1.0, mib * 64, mib * 60, (mib - 700) * 2**20, 0)
    assert failed(options.disk(mib, grown, VM, BUDGETS)) == set()
    small = replace(grown, size_bytes=2**30, total=2**10)
    assert failed(options.disk(mib - 1, small, VM, BUDGETS)) == {
        "the disk has the size that diskSizeG says",
        "the root file system is grown into the disk",
        "the root file system's inodes grow with it",
    }


def test_autostart() -> None:
    """An answer or a tap is no VM that stays down."""
    down = options.Presence(VM, frozenset(), TAP, [], {})
    assert options.stays_down(down).held
    assert not options.stays_down(replace(down, owners={VM.mac})).held
    assert not options.stays_down(replace(down, taps=[TAP])).held
    up = replace(down, owners={VM.mac}, taps=[TAP], ports={TAP: 1})
    assert options.autostarts(up).held
    assert not options.autostarts(replace(up, ports={})).held
    assert not options.autostarts(replace(up, owners={VM.mac, "x"})).held


@pytest.mark.parametrize(
    ("seconds", "held"),
    [((8.0, 4.0), True), ((6.6, 4.0), True), ((4.0, 4.0), False), ((4.0, 8.0), False)],
)
def test_cpu_shares(seconds: tuple[float, float], *, held: bool) -> None:
    """The ratio may miss that of the weights by the budget."""
    used = dict(zip(("dev", "openclaw"), seconds, strict=True))
    assert options.shares_cpu(used, (200, 100), BUDGETS).held is held


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, set()),
        ({"mem": 128.0}, {"QEMU is asked for mem"}),
        ({"vcpu": 1}, {"QEMU is asked for vcpu"}),
        ({"macs": ()}, {"QEMU is asked for the MAC"}),
        ({"taps": ()}, {"QEMU has one tap, which is on the bridge"}),
        ({"taps": ("other",)}, {"QEMU has one tap, which is on the bridge"}),
        ({"direct": ("-kernel",)}, {"QEMU is given no kernel"}),
        ({"files": ("disk.qcow2",)}, {"QEMU has a disk and a seed"}),
    ],
)
def test_a_command_line(change: dict[str, Any], names: set[str]) -> None:
    """Each option of the spec has a check."""
    asked = replace(ASKED, **change)
    assert failed(options.command_line(asked, VM, {TAP}, [])) == names


def test_a_disk_in_the_store() -> None:
    """A file that the host may collect fails."""
    lent = ["/nix/store/x-image/disk.qcow2"]
    assert failed(options.command_line(ASKED, VM, {TAP}, lent)) == {
        "the disk needs no file of the host's store"
    }


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"wanted_by": ()}, "the unit starts with the host as autostart says"),
        ({"weight": 100}, "the unit has the spec's CPU weight"),
        ({"weight": None}, "the unit has the spec's CPU weight"),
        ({"stop_timeout": 5.0}, "the unit gives the guest time to stop"),
        (
            {"outlives_a_deploy": False},
            "a deploy of the host does not restart the unit",
        ),
    ],
)
def test_a_unit(change: dict[str, Any], name: str) -> None:
    """Each setting has a check; an infinite time to stop is enough."""
    assert failed(options.unit(UNITS, VM, BUDGETS)) == set()
    patient = replace(UNITS, main=replace(MAIN, stop_timeout=float("inf")))
    assert failed(options.unit(patient, VM, BUDGETS)) == set()
    changed = replace(UNITS, main=replace(MAIN, **change))
    assert failed(options.unit(changed, VM, BUDGETS)) == {name}


def test_a_second_boot() -> None:
    """Another instance fails the checks of what a first boot makes."""
    first = {
        "runcmd": "1",
        "instance-id": "i1",
        "ssh host keys": "k1",
        "machine-id": "m1",
    }
    assert failed(options.second_boot(first, first)) == set()
    again = {**first, "runcmd": "2", "ssh host keys": "k2"}
    assert failed(options.second_boot(first, again)) == {
        "first-boot modules do not run again",
        "the second boot keeps ssh host keys",
    }


def test_two_machines() -> None:
    """A value in common fails, and so does a machine without any."""
    own = {"MAC address": frozenset({"a"}), "machine-id": frozenset({"m"})}
    theirs = {"MAC address": frozenset({"b"}), "machine-id": frozenset({"m"})}
    assert failed(consumers.share_nothing("dev", own, "openclaw", theirs)) == {
        "the machines share no machine-id"
    }
    none: dict[str, frozenset[str]] = {k: frozenset() for k in own}
    assert len(failed(consumers.share_nothing("dev", none, "openclaw", theirs))) == 2
    assert consumers.answers_alone({VM.mac}, VM).held
    assert not consumers.answers_alone({VM.mac, "x"}, VM).held
    assert not consumers.taps_on_bridge("it", ["a", "b"], {"a"}, ["b", "a"]).held
