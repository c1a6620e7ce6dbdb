"""Adopted units: what systemd accepts of them, and what they do on a real site."""

from __future__ import annotations

import math
import os
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline, poll
from harness.errors import GuestFailure, InputError, MachineDied
from harness.host import QEMU
from harness.machine import Machine
from harness.machine.lifetimes import LAB
from harness.process import alive
from harness.shell import CommandLine, UnitShell, gateway_of, read, shim
from harness.shell.units import settings, span
from tests.machine.conftest import ACCELERATOR, VM
from tests.shell.realistic import lay_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.shell import Units
    from tests.machine.conftest import Bench

FACTS = {
    "cpu": "max", "accelerator": "tcg", "mem": 512, "vcpu": 1, "agent": "/m/agent",
    "console": "/m/console", "log": "/m/log", "monitor": "/m/monitor", "qmp": "/m/qmp",
}  # fmt: skip
TORN = """
[Unit]
Requires=db.service
Requires=dev-kvm.device
[Service]
Exec Start=true
ExecStart=/bin/true
ExecStartPre=/no/such/program
TimeoutStopSec=soon
nonsense
[Mount]
What=x
"""
QEMU_PATH = shutil.which(QEMU) or ""


@pytest.fixture(scope="module", autouse=True)
def _systemd() -> None:
    if shutil.which("systemd-analyze") is None or os.geteuid() != 0:
        pytest.skip("needs systemd and root")


def write(place: Path, **units: str) -> Units:
    """Write units, by name without their type, and read them."""
    for name, text in units.items():
        (place / f"{name}.service").write_text(text)
    return read([place / f"{name}.service" for name in units], "dev")


def oneshot(more: str = "") -> str:
    """Return the text of a oneshot."""
    return f"[Service]\nType=oneshot\nExecStart=/bin/true\n{more}"


def service(more: str = "") -> str:
    """Return the text of the machine's own unit."""
    return f"[Service]\nExecStart={QEMU_PATH} -m 1\n{more}"


# What is accepted -------------------------------------------------------------------


def test_all_that_systemd_refuses_is_listed_at_once(tmp_path: Path) -> None:
    """With file and line, in systemd's words; a device is refused by the harness."""
    with pytest.raises(InputError, match="cannot be adopted") as caught:
        write(tmp_path, vm=TORN)
    said = [str(mistake) for mistake in caught.value.evidence]
    file = tmp_path / "vm.service"
    for expected in (
        f"{file}:6: Unknown key",
        f"{file}:9: Failed to parse time value",
        f"{file}:10: Missing '='",
        f"{file}:11: Unknown section 'Mount'",
        "vm.service: Failed to create vm.service/start: Unit db.service not found",
        "vm.service: Command /no/such/program is not executable",
        f"{file}: Requires = dev-kvm.device: no device unit",
    ):
        assert any(line.startswith(expected) for line in said), (expected, said)
    with pytest.raises(InputError, match="a readable unit file"):
        read([tmp_path / "absent.service"], "dev")


def test_a_cycle_is_refused(tmp_path: Path) -> None:
    """By systemd, that names it."""
    main = "[Unit]\nRequires=a.service\nAfter=a.service\n" + service()
    after = "[Unit]\nAfter=vm.service\n"
    with pytest.raises(InputError, match="cyclic"):
        write(tmp_path, vm=main, a=after + oneshot())


def test_units_are_ordered_as_they_say(tmp_path: Path) -> None:
    """Requires= alone gives no order; After= and Before= do. Strays are left out."""
    units = write(
        tmp_path,
        vm="[Unit]\nRequires=b.service a.service\nAfter=a.service\n" + service(),
        a="[Unit]\nAfter=b.service\n" + oneshot(),
        b=oneshot(),
        stray=oneshot(),
    )
    assert [unit.name for unit in units.before] == ["b.service", "a.service"]
    assert units.unordered == ()
    assert units.emulators == (os.path.realpath(QEMU_PATH),)


def test_a_requirement_without_an_order_is_seen(tmp_path: Path) -> None:
    """Both are started at once, and init loses the race."""
    requires = "[Unit]\nRequires=init.service\n"
    units = write(tmp_path, vm=requires + service(), init=oneshot())
    assert units.unordered == ("init.service",)


def test_drop_ins_and_install_sections_count(tmp_path: Path) -> None:
    """As systemd merges them: in the order of their names, an empty value clears."""
    (tmp_path / "vm.service.d").mkdir()
    (tmp_path / "vm.service.d" / "20-last.conf").write_text(
        "[Service]\nCPUWeight=50\nTimeoutStopSec=infinity\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    (tmp_path / "vm.service.d" / "10-first.conf").write_text(
        f"[Service]\nExecStart=\nExecStart={QEMU_PATH} -m 2\nCPUWeight=20\n"
    )
    main = write(tmp_path, vm="[Service]\nExecStart=/bin/false\n").main
    assert main.weight == 50
    assert main.wanted_by == ("multi-user.target",)
    assert main.autostart
    assert math.isinf(main.stop_timeout)
    plain = write(tmp_path, other=service()).main
    assert (plain.weight, plain.autostart, plain.stop_timeout) == (None, False, 90)


def test_a_template_is_the_machines_instance(tmp_path: Path) -> None:
    """`%i` is the VM's name, for the machine's unit and what it needs."""
    needs = "[Unit]\nRequires=init@%i.service\nAfter=init@%i.service\n"
    for name, text in (("vm@", needs + service()), ("init@", oneshot())):
        (tmp_path / f"{name}.service").write_text(text)
    files = [tmp_path / "vm@.service", tmp_path / "init@.service"]
    units = read(files, "dev")
    assert units.main.name == "vm@dev.service"
    assert [unit.name for unit in units.before] == ["init@dev.service"]


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
    units = write(
        tmp_path,
        vm="[Unit]\nRequires=init.service\nAfter=init.service\n" + service(main),
        init=oneshot(f"RemainAfterExit=true\n{init}\n"),
    )
    assert list(units.restarted_by_a_deploy) == restarted


def test_one_service_has_to_start_a_qemu(tmp_path: Path) -> None:
    """None is refused, two as well; a sidecar of another program is not counted."""
    with pytest.raises(InputError, match="start no QEMU"):
        write(tmp_path, vm="[Service]\nExecStart=/bin/sleep 1\n")
    with pytest.raises(InputError, match="two units start a QEMU") as caught:
        write(tmp_path, vm=service(), other=service())
    assert "vm.service, other.service" in str(caught.value)
    side = "[Service]\nExecStart=/bin/sleep 1\n"
    assert write(tmp_path, vm=service(), side=side).main.name == "vm.service"


def test_texts_and_times_are_read() -> None:
    """Continued lines, comments, cleared lists; times as `systemctl show` has them."""
    text = "# no\n[Unit]\nA=1\\\n 2\nA=3\n[B]\nA=x\n; no\nA=\n"
    assert settings(text) == {("Unit", "A"): ["1  2", "3"], ("B", "A"): []}
    assert span("1min 30s") == 90
    assert span("1h 500ms") == 3600.5
    assert math.isinf(span("infinity"))


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
def adopted(
    bench: Bench, more: str = "", **replaced: str
) -> Iterator[tuple[Machine, UnitShell]]:
    """Lay out a machine's units; `more` is a drop-in. Nothing has been started yet."""
    store = bench.directory / "store"
    files = lay_out(store, VM, bench.base, gateway_of(bench.site), **replaced)
    if more:
        (store / f"vm-{VM.name}.service.d").mkdir()
        (store / f"vm-{VM.name}.service.d" / "more.conf").write_text(more)
    directory = bench.directory / "m"
    directory.mkdir(mode=0o700)
    shell = UnitShell(read(files, VM.name), VM, bench.site, directory, ACCELERATOR)
    machine = Machine(bench.site, shell, ACCELERATOR, lab=LAB)
    try:
        yield machine, shell
    finally:
        machine.end()


def soon() -> Deadline:
    """Give up after 20 s."""
    return Deadline.after(20, "the test")


def start(machine: Machine) -> None:
    """Start it, and wait for the guest's first words."""
    mark = machine.console.size if machine.steps.taken else 0
    machine.shell.start(soon())
    console = machine.console
    poll(lambda: "saved" in console.since(mark) or None, soon())


def test_two_starts_and_a_crash(bench: Bench) -> None:
    """Steps are seen by what they did; the state is the machine's own."""
    site = bench.site
    with adopted(bench) as (machine, shell):
        start(machine)
        assert machine.steps.order == ["init", "tap-up", "qemu"]
        assert "disk.qcow2" in machine.steps.taken[0].detail
        assert site.taps() == [machine.tap] == ["tap-sector"]
        assert machine.disk.is_relative_to(machine.directory)
        assert machine.disk.exists()
        assert shell.asked.mem == CommandLine.of(machine.argv[1:]).mem == VM.mem
        first = machine.emulator.pid
        machine.crash()
        assert machine.steps.order[3:] == ["qemu-end", "tap-down"]
        assert "SIGKILL, exit status -9" in machine.steps.taken[3].detail
        assert site.taps() == []
        assert not alive(first)
        start(machine)
        assert machine.steps.order[5:] == ["init", "tap-up", "qemu"]
        assert "already present" in machine.steps.taken[5].detail
        machine.shutdown()
        assert "by itself, exit status 0" in machine.steps.taken[-2].detail
        assert site.taps() == []
    assert "Deactivated successfully" in (machine.directory / "systemd.log").read_text()


def test_a_stop_that_asks_nobody_is_a_power_cut(bench: Bench) -> None:
    """ExecStop comes back at once, so SIGTERM follows, and the event says so."""
    with adopted(bench, stop="#!/bin/sh\nexit 0\n") as (machine, _):
        start(machine)
        with pytest.raises(GuestFailure, match="stop was a power cut") as caught:
            machine.shutdown()
        assert "host-signal" in caught.value.seen


def test_the_units_own_timeout_ends_a_stop(bench: Bench) -> None:
    """A guest that is deaf to the power button is killed by systemd, in its time."""
    stop = "[Service]\nTimeoutStopSec=1s\nKillSignal=SIGCONT\n"
    with adopted(bench, stop) as (machine, _):
        start(machine)
        machine.qmp().execute("stop")
        with pytest.raises(GuestFailure, match="stop was a power cut"):
            machine.shutdown()
        assert "exit status -9" in machine.steps.taken[-2].detail


def test_a_tap_left_behind_is_seen(bench: Bench) -> None:
    """No tap-down is noted where no tap went."""
    with adopted(bench, tap_down="#!/bin/sh\nexit 0\n") as (machine, _):
        start(machine)
        machine.crash()
        assert machine.steps.order[3:] == ["qemu-end"]
        assert bench.site.taps() == ["tap-sector"]
        bench.site.sandbox.script("ip link delete tap-sector", "a tap to go")


def test_an_init_that_makes_the_disk_again_is_seen(bench: Bench) -> None:
    """By what it did, not by what it prints."""
    text = "#!/bin/sh\ncd /var/lib/vms/@name@\necho already present\n"
    text += "cp @store@/seed.iso seed.iso\nrm -f disk.qcow2\n"
    text += "qemu-img create -q -f qcow2 -F qcow2 -b @base@ disk.qcow2 1G\n"
    with adopted(bench, init_start=text) as (machine, _):
        start(machine)
        machine.crash()
        start(machine)
        detail = machine.steps.taken[5].detail
        assert "made or changed" in detail
        assert "already present" not in detail


def test_units_write_nowhere_else(bench: Bench) -> None:
    """A script's mistake is refused by the file system, and fails its unit."""
    text = "#!/bin/sh\ntouch /etc/adopted-was-here\n"
    with adopted(bench, init_start=text) as (machine, _):
        with pytest.raises(GuestFailure, match="Read-only") as caught:
            machine.shell.start(soon())
        assert "vm-sector-init.service failed, exit-code" in str(caught.value)
        assert bench.site.taps() == []


def test_a_qemu_that_ends_at_once_fails_the_start(bench: Bench) -> None:
    """With what it printed."""
    text = "[Service]\nExecStart=\nRestart=no\n"
    text += f"ExecStart={QEMU_PATH} -nonsense\n"
    with adopted(bench, text) as (machine, _):
        with pytest.raises(GuestFailure, match="ended without a QEMU") as caught:
            machine.shell.start(soon())
        assert "nonsense" in str(caught.value)


def test_systemd_restarts_what_asks_for_it(bench: Bench) -> None:
    """`Restart=` brings another QEMU, on another tap; init remains as it was."""
    again = "[Service]\nRestart=always\nRestartSec=100ms\n"
    with adopted(bench, again) as (machine, shell):
        start(machine)
        first = machine.emulator
        os.kill(first.pid, signal.SIGKILL)
        first.wait_end(soon())
        assert shell.restarted(soon())
        assert machine.emulator.pid != first.pid
        assert machine.running
        expected = ["init", "tap-up", "qemu", "qemu-end", "tap-down", "tap-up", "qemu"]
        assert machine.steps.order == expected
        machine.crash()
        assert bench.site.taps() == []


def test_systemd_leaves_what_does_not(bench: Bench) -> None:
    """The same end, and nothing comes."""
    with adopted(bench, "[Service]\nRestart=no\n") as (machine, shell):
        start(machine)
        os.kill(machine.emulator.pid, signal.SIGKILL)
        machine.emulator.wait_end(soon())
        assert not shell.restarted(soon())
        with pytest.raises(MachineDied):
            machine.check()


def test_conditions_are_systemds(bench: Bench) -> None:
    """One that does not hold skips init, so there is no disk, and the unit fails."""
    with adopted(bench, "[Service]\nRestart=no\n") as (machine, _):
        init = bench.directory / "store" / "vm-sector-init.service.d"
        init.mkdir()
        (init / "skip.conf").write_text("[Unit]\nConditionPathExists=/no/such/file\n")
        with pytest.raises(GuestFailure, match="ended without a QEMU") as caught:
            machine.shell.start(soon())
        assert "vm-sector-init.service skipped by a condition" in caught.value.seen
        assert "Could not open" in str(caught.value)


def test_a_confined_unit_runs(bench: Bench) -> None:
    """Its file system is read-only, and the channels are there nevertheless."""
    strict = "[Service]\nProtectSystem=strict\nNoNewPrivileges=yes\n"
    with adopted(bench, strict) as (machine, _):
        start(machine)
        machine.shutdown()


def test_a_deploy_restarts_what_is_not_kept(bench: Bench) -> None:
    """Once by systemd's stop, with the options that were deployed."""
    with adopted(bench) as (machine, shell):
        start(machine)
        first = machine.emulator
        shell.deploy({"mem": VM.mem + 32}, soon())
        assert machine.emulator is first
        assert first.running
    changed = "[Service]\nX-RestartIfChanged=true\n"
    shutil.rmtree(bench.directory / "m")
    shutil.rmtree(bench.directory / "store")
    with adopted(bench, changed) as (machine, shell):
        start(machine)
        first = machine.emulator
        shell.deploy({"mem": VM.mem + 32}, soon())
        assert machine.emulator is not first
        assert machine.emulator.plan.mem == VM.mem + 32


def test_nothing_outlives_the_machine(bench: Bench) -> None:
    """Neither systemd nor what a unit has left running, nor its control groups."""
    text = "#!/bin/sh\nsetsid sleep 98765 >/dev/null 2>&1 &\nip link delete @tap@\n"
    with adopted(bench, tap_down=text) as (machine, _):
        before = set(bench.site.sandbox.processes())
        start(machine)
        machine.crash()
        assert set(bench.site.sandbox.processes()) == before
    words = [p / "cmdline" for p in Path("/proc").iterdir() if p.name.isdigit()]
    left = [w for w in words if w.exists() and b"98765" in w.read_bytes()]
    assert left == []
    groups = list(
        Path("/sys/fs/cgroup").glob(f"**/vm-acceptance-units-{os.getpid()}-*")
    )
    assert groups == []
