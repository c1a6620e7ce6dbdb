"""Adopted units on a real site: what a real systemd makes of them."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline, poll
from harness.errors import GuestFailure, MachineDied
from harness.host import QEMU
from harness.machine import Machine
from harness.machine.lifetimes import LAB
from harness.process import alive
from harness.shell import CommandLine, UnitShell, gateway_of, read
from tests.machine.conftest import ACCELERATOR, VM
from tests.shell.realistic import lay_out
from tests.waiting import patient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machine.conftest import Bench

QEMU_PATH = shutil.which(QEMU) or ""


@pytest.fixture(scope="module", autouse=True)
def _systemd() -> None:
    if shutil.which("systemd-analyze") is None or os.geteuid() != 0:
        pytest.skip("needs systemd and root")


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
    return patient(20, "the test")


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
        assert "on its own, exit status 0" in machine.steps.taken[-2].detail
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


@pytest.mark.parametrize("root", ["", "/run/vm-acceptance.root"])
def test_units_write_nowhere_else(bench: Bench, root: str) -> None:
    """A script's mistake is refused by the file system, and fails its unit."""
    text = f"#!/bin/sh\ntouch {root}/etc/adopted-was-here\n"
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
