"""Adopted units: what is understood of them, and what they do on a real site."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline, poll
from harness.errors import GuestFailure, InputError
from harness.machine.adopted import AdoptedMachine, CommandLine, Units, read, shim
from harness.machine.adopted.machine import AdoptedRecipe, AdoptedVm
from harness.machine.recipe import gateway_of
from tests.machine.conftest import ACCELERATOR, VM
from tests.machine.realistic import lay_out

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.machine.conftest import Bench

FACTS = {
    "cpu": "max", "accelerator": "tcg", "mem": 512, "vcpu": 1, "agent": "/m/agent",
    "console": "/m/console", "log": "/m/log", "monitor": "/m/monitor", "qmp": "/m/qmp",
}  # fmt: skip
TORN = """
[Unit]
Requires=db.service
Conflicts=other.service
[Service]
Type=notify
Exec Start=true
ExecStart=@/bin/sh sh
TimeoutStopSec=soon
ProtectSystem=strict
nonsense
[Mount]
"""


# What is understood -----------------------------------------------------------------


def test_all_that_is_not_understood_is_told_at_once(tmp_path: Path) -> None:
    """File and line, each setting, and what would have been right."""
    (tmp_path / "vm.service").write_text(TORN)
    with pytest.raises(InputError, match="cannot be adopted") as caught:
        read([tmp_path / "vm.service", tmp_path / "absent.service"])
    told = {mistake.key: mistake.allowed for mistake in caught.value.mistakes}
    assert set(told) == {
        "", "Requires", "Conflicts", "Type", "Exec Start", "ExecStart",
        "TimeoutStopSec", "ProtectSystem", "nonsense", "[Mount]",
    }  # fmt: skip
    assert told["ProtectSystem"] == "no setting that is understood here"
    assert told["Requires"] == "a unit that is given with --unit as well"


def test_units_are_ordered_as_they_say(tmp_path: Path) -> None:
    """Requires= alone gives no order; After= and Before= do, and cycles are refused."""
    texts = {
        "vm.service": "[Unit]\nRequires=b.service a.service\nAfter=a.service\n"
        "[Service]\nExecStart=/bin/vm\n",
        "a.service": "[Unit]\nAfter=b.service\n[Service]\nType=oneshot\nExecStart=/a\n",
        "b.service": "[Service]\nType=oneshot\nExecStart=-/b \\\n  -c '$X ${X}'\n"
        'Environment="X=1 2"\nExecStart=\nExecStart=-/b "$X" ${X}\n',
        "stray.service": "[Service]\nType=oneshot\nExecStart=/stray\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    units = read([tmp_path / name for name in texts])
    assert [unit.name for unit in units.before] == ["b.service", "a.service"]
    assert units.unordered == ()
    (command,) = units.before[0].commands("ExecStart")
    assert command.may_fail
    assert command.expanded({"X": "1 2"}) == ["/b", "1", "2", "1 2"]
    with (tmp_path / "b.service").open("a") as more:
        more.write("[Unit]\nAfter=a.service\n")
    with pytest.raises(InputError, match="an order without a cycle"):
        read([tmp_path / name for name in texts])


def test_drop_ins_and_files_of_variables(tmp_path: Path) -> None:
    """A host's own changes to the module's unit, as systemd merges them."""
    vm, told = tmp_path / "vm.service", tmp_path / "vm.env"
    told.write_text("# the host's\n\nSIZE='2 G'\nNAME=dev\n")
    vm.write_text("[Service]\nExecStart=/bin/vm $NAME\nEnvironment=NAME=old\n")
    assert not read([vm]).main.restarts
    changes = tmp_path / "vm.service.d"
    changes.mkdir()
    (changes / "20-last.conf").write_text(
        f"[Service]\nEnvironmentFile={told}\nEnvironmentFile=-/nowhere\nCPUWeight=50\n"
        "Restart=on-success\n"
    )
    (changes / "10-first.conf").write_text(
        "[Service]\nExecStart=\nExecStart=/bin/other\nCPUWeight=20\n"
    )
    main = read([vm]).main
    assert [command.argv for command in main.commands("ExecStart")] == [("/bin/other",)]
    assert main.environment == {"NAME": "dev", "SIZE": "2 G"}
    assert main.last("CPUWeight") == "50"
    assert main.restarts
    told.unlink()
    with pytest.raises(InputError, match="a readable file of variables") as caught:
        read([vm])
    assert "20-last.conf:2" in str(caught.value)


def test_a_requirement_without_an_order_is_seen(tmp_path: Path) -> None:
    """`Requires=` alone starts both at once, and init loses the race."""
    vm, init = tmp_path / "vm.service", tmp_path / "init.service"
    vm.write_text("[Unit]\nRequires=init.service\n[Service]\nExecStart=/bin/vm\n")
    init.write_text("[Service]\nType=oneshot\nExecStart=/bin/init\n")
    assert read([vm, init]).unordered == ("init.service",)


@pytest.mark.parametrize(
    ("main", "init", "restarted"),
    [
        ("X-RestartIfChanged=false", "X-RestartIfChanged=no", []),
        ("", "X-RestartIfChanged=false", ["vm.service"]),
        ("X-RestartIfChanged=false", "", ["init.service"]),
        ("X-ReloadIfChanged=true", "RemainAfterExit=no", []),
        ("[Unit]\nX-RestartIfChanged=false", "X-StopIfChanged=false", [
            "init.service", "vm.service",
        ]),
        ("[Unit]\nX-OnlyManualStart=1", "[Unit]\nRefuseManualStop=yes", []),
    ],
)  # fmt: skip
def test_what_a_deploy_of_the_host_restarts(
    tmp_path: Path, main: str, init: str, restarted: list[str]
) -> None:
    """Settings count in their own section, and who requires init goes with it."""
    vm, oneshot = tmp_path / "vm.service", tmp_path / "init.service"
    vm.write_text(
        "[Unit]\nRequires=init.service\nAfter=init.service\n"
        f"[Service]\nExecStart=/bin/vm\n{main}\n"
    )
    oneshot.write_text(
        f"[Service]\nType=oneshot\nRemainAfterExit=true\nExecStart=/bin/i\n{init}\n"
    )
    assert list(read([vm, oneshot]).restarted_by_a_deploy) == restarted


def test_qemu_is_scaled_down_and_given_our_channels() -> None:
    """The size of the real host goes, the machine's own hardware stays."""
    words = (
        "-enable-kvm -machine q35,accel=kvm,usb=off -cpu host -m 16G -smp 8 -no-reboot"
        " -drive file=/var/lib/x.qcow2,if=virtio -serial mon:stdio"
        " -netdev tap,id=n,ifname=tap-x"
        " -device virtio-net-pci,netdev=n,mac=52:54:00:00:00:01"
    )
    given = words.split()
    asked = CommandLine.of(given)
    assert (asked.mem, asked.vcpu) == (16384, 8)
    assert asked.macs == ("52:54:00:00:00:01",)
    assert (asked.taps, asked.files) == (("tap-x",), ("/var/lib/x.qcow2",))
    argv = shim.adapt(given, FACTS)
    text = " ".join(argv)
    assert "kvm" not in text
    assert "-machine q35,usb=off -cpu max" in text
    assert (CommandLine.of(argv).mem, CommandLine.of(argv).vcpu) == (512, 1)
    assert "-no-reboot -drive file=/var/lib/x.qcow2" in text
    assert argv.count("-serial") == 1
    assert "name=org.qemu.guest_agent.0" in text
    port = f"virtserialport,chardev=qga,name={shim.AGENT}"
    own = ["-chardev", "socket,path=/run/qga,id=qga", "-device", port]
    argv = shim.adapt(own, FACTS)
    assert argv[1] == "socket,id=qga,path=/m/agent,server=on,wait=off"
    assert "harness-agent" not in " ".join(argv)


def test_a_kernel_on_the_command_line_is_seen() -> None:
    """It would bypass the guest's own boot loader."""
    asked = CommandLine.of(
        ["-kernel", "/k", "-append", "x", "-smp", "sockets=1,cpus=3"]
    )
    assert asked.direct == ("-kernel", "-append")
    assert (asked.mem, asked.vcpu) == (128.0, 3)


def test_files_are_told_from_block_devices() -> None:
    """In the old spelling and the new; `file=` of a block device names a node."""
    words = (
        "-drive file=/a.qcow2,if=virtio -drive if=none,file.filename=/b.iso"
        " -blockdev driver=file,node-name=f,filename=/c.qcow2"
        " -blockdev driver=qcow2,node-name=d,file=f"
        " -blockdev driver=raw,node-name=s,file.driver=file,file.filename=/d.iso"
    )
    asked = CommandLine.of(words.split())
    assert sorted(asked.files) == ["/a.qcow2", "/b.iso", "/c.qcow2", "/d.iso"]


# What they do -----------------------------------------------------------------------


@contextmanager
def adopted(bench: Bench, **replaced: str) -> Iterator[AdoptedMachine]:
    """Lay out a machine's units; nothing has been started yet."""
    store = bench.directory / "store"
    units = lay_out(store, VM, bench.base, gateway_of(bench.site), **replaced)
    directory = bench.directory / "m"
    directory.mkdir(mode=0o700)
    recipe = AdoptedRecipe(
        vm=AdoptedVm(**dict(VM)),
        directory=directory,
        accelerator=ACCELERATOR,
        gateway=gateway_of(bench.site),
        base=bench.base,
        cold=True,
    )
    machine = AdoptedMachine(bench.site, recipe, read(units))
    try:
        yield machine
    finally:
        machine.end()


def start(machine: AdoptedMachine) -> None:
    """Start it, and wait for the guest's first words."""
    mark = machine.console.size if machine.steps.taken else 0
    machine.unit.start(Deadline.after(20, "QEMU"))
    machine.recognise()
    console, deadline = machine.console, Deadline.after(20, "the guest")
    poll(lambda: "saved" in console.since(mark) or None, deadline)


def test_two_starts_and_a_crash(bench: Bench) -> None:
    """Steps are seen by what they did; the state is the machine's own."""
    site = bench.site
    with adopted(bench) as machine:
        start(machine)
        journal = machine.unit.journal
        assert journal.order == ["init", "tap-up", "qemu"]
        assert "disk.qcow2" in journal.taken[0].detail
        assert site.taps() == [machine.tap] == ["tap-sector"]
        assert machine.disk.is_relative_to(machine.directory)
        assert machine.disk.exists()
        assert CommandLine.of(machine.argv[1:]).mem == VM.mem
        machine.crash()
        assert journal.order[3:] == ["qemu-end", "tap-down"]
        assert site.taps() == []
        start(machine)
        assert journal.order[5:] == ["init", "tap-up", "qemu"]
        assert "already present" in journal.taken[5].detail
        machine.shutdown()
        assert "by itself" in journal.taken[-2].detail
        assert site.taps() == []
    log = (machine.directory / "units.log").read_text()
    assert "vm-sector-tap-down" in log


def test_a_stop_that_asks_nobody_is_a_power_cut(bench: Bench) -> None:
    """ExecStop comes back at once, so SIGTERM follows; that is told."""
    with adopted(bench, stop="#!/bin/sh\nexit 0\n") as machine:
        start(machine)
        with pytest.raises(GuestFailure, match="stop was a power cut") as caught:
            machine.shutdown()
        assert "host-signal" in caught.value.seen


def test_a_tap_left_behind_is_seen(bench: Bench) -> None:
    """No tap-down is noted where no tap went."""
    with adopted(bench, tap_down="#!/bin/sh\nexit 0\n") as machine:
        start(machine)
        machine.crash()
        assert machine.steps.order[3:] == ["qemu-end"]
        assert bench.site.taps() == ["tap-sector"]
        bench.site.sandbox.script("ip link delete tap-sector", "a tap to go")


def test_an_init_that_makes_the_disk_anew_is_seen(bench: Bench) -> None:
    """By what it did, whatever it says."""
    text = "#!/bin/sh\ncd /var/lib/vms/@name@\necho already present\n"
    text += "cp @store@/seed.iso seed.iso\nrm -f disk.qcow2\n"
    text += "qemu-img create -q -f qcow2 -F qcow2 -b @base@ disk.qcow2 1G\n"
    with adopted(bench, init_start=text) as machine:
        start(machine)
        machine.crash()
        start(machine)
        detail = machine.steps.taken[5].detail
        assert "made or changed" in detail
        assert "already present" not in detail


def test_units_write_nowhere_else(bench: Bench) -> None:
    """A script's mistake is refused by the file system, and fails its unit."""
    text = "#!/bin/sh\ntouch /etc/adopted-was-here\n"
    with adopted(bench, init_start=text) as machine:
        with pytest.raises(GuestFailure, match="Read-only") as caught:
            machine.unit.start(Deadline.after(20, "QEMU"))
        assert "vm-sector-init-start failed" in str(caught.value)


def test_units_without_a_qemu(tmp_path: Path) -> None:
    """They are refused before anything runs."""
    from harness.machine.adopted.life import emulators  # noqa: PLC0415 - its own words

    unit = tmp_path / "vm.service"
    unit.write_text("[Service]\nExecStart=/nix/store/x/bin/qemu-kvm -m 1\n")
    units: Units = read([unit])
    with pytest.raises(InputError, match="start no QEMU") as caught:
        emulators(units)
    assert "/nix/store/x/bin/qemu-kvm" in str(caught.value)
