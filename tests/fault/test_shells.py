"""What each fault of the shell does around a real QEMU, without a suite to see it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline
from harness.fault import load
from harness.fault.lan import ColdRollback
from harness.fleet import load_fleet
from harness.process import alive
from harness.shell import ModuleShell, Recipe, gateway_of
from harness.site import open_site
from tests.machine.conftest import ACCELERATOR, VM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.fault import Fault
    from harness.fleet import Vm
    from harness.shell import Shell
    from harness.site import Site
    from tests.machine.conftest import Bench

FLEET = load_fleet(Path(__file__).parents[2] / "fleet.toml")
SECOND = VM.model_copy(
    update={
        "name": "second",
        "mac": "52:54:00:00:00:02",
        "ip": IPv4Address("10.42.97.18"),
    }
)


def soon() -> Deadline:
    """Give up after 20 s."""
    return Deadline.after(20, "the test")


@pytest.fixture
def started(bench: Bench) -> Iterator[Callable[..., Shell]]:
    """Give a maker of running shells, as a fault alters them."""
    with ExitStack() as stack:

        def start(fault: Fault, vm: Vm = VM, site: Site = bench.site) -> Shell:
            recipe = Recipe(
                vm=vm,
                directory=bench.directory / vm.name,
                accelerator=ACCELERATOR,
                gateway=gateway_of(site),
                base=bench.base,
                adapt=lambda plan: replace(plan, tb_size=16),
            )
            shell = fault.alter_shell(ModuleShell(recipe, site), site)
            stack.callback(shell.close)
            shell.start(soon()).console.wait_for("saved .\n", soon())
            return shell

        yield start
    for tap in bench.site.taps():
        bench.site.sandbox.script(f"ip link delete {tap}", "a tap to go")


def altered(name: str) -> Fault:
    """Load a fault that knows the spec."""
    fault = load(name)
    fault.alter_spec(FLEET)
    return fault


def test_crashes_that_lose_the_disk_or_leave_the_tap(
    started: Callable[..., Shell], bench: Bench
) -> None:
    """After the crash, not before it."""
    shell = started(altered("init-recreates-the-disk"))
    assert shell.disk.exists()
    shell.crash()
    assert not shell.disk.exists()
    assert bench.site.taps() == []
    shell = started(altered("tap-left-after-crash"))
    shell.crash()
    assert bench.site.taps() == [shell.tap]


def test_a_stop_that_is_a_power_cut(started: Callable[..., Shell]) -> None:
    """QEMU ends by a signal, and its event says so."""
    shell = started(altered("stop-is-a-power-cut"))
    qmp = shell.emulator.qmp
    shell.stop(soon())
    ends = [event.data["reason"] for event in qmp.events if event.name == "SHUTDOWN"]
    assert ends in ([], ["host-signal"])
    assert shell.log.order[-1] == "tap-down"


def test_a_deploy_that_restarts(started: Callable[..., Shell]) -> None:
    """With what was deployed."""
    shell = started(altered("host-deploy-restarts-the-vm"))
    before = shell.emulator
    shell.deploy({"mem": VM.mem + 32}, soon())
    assert not before.running
    assert shell.emulator.plan.mem == VM.mem + 32


def test_a_weight_that_is_ignored(started: Callable[..., Shell]) -> None:
    """It needs no control group, so it is granted everywhere."""
    with started(altered("cpu-weight-ignored")).weighed(1) as nothing:
        assert nothing is None


def test_what_a_removal_forgets(started: Callable[..., Shell], bench: Bench) -> None:
    """A process, a start, an image, a directory, a tap."""
    shell = started(altered("removed-vm-keeps-running"))
    shell.retire(soon())
    assert shell.emulator.running
    assert list(shell.directory.iterdir()) == []
    shell.close()
    shell = started(altered("removed-vm-is-started-again"))
    before = shell.emulator.pid
    shell.retire(soon())
    assert not alive(before)
    assert shell.emulator.running
    shell.close()
    shell = started(altered("image-left-behind"))
    inode = shell.disk.stat().st_ino
    shell.retire(soon())
    assert not shell.directory.exists()
    aside = bench.site.directory / "rootfs.img.bak"
    assert aside.stat().st_ino == inode
    aside.unlink()
    shell = started(altered("state-directory-left"))
    shell.retire(soon())
    assert [path.name for path in shell.directory.iterdir()] == ["lock"]
    (shell.directory / "lock").unlink()
    shell = started(altered("removed-vm-leaves-its-tap"))
    shell.retire(soon())
    assert bench.site.taps() == [shell.tap]


def test_a_machine_that_comes_back(started: Callable[..., Shell], bench: Bench) -> None:
    """Another host has its address and its MAC after the stop."""
    fault = altered("old-vm-comes-back")
    with fault.alter_network(bench.site):
        shell = started(fault)
        shell.stop(soon())
        assert bench.site.client.arping(VM.ip, window=1.0) == {VM.mac}


def test_a_way_back_that_boots(
    started: Callable[..., Shell], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another QEMU comes in place of the cable, and late."""
    monkeypatch.setattr(ColdRollback, "budget_s", -4.5)
    shell = started(altered("rollback-boots-the-old-vm"))
    before = shell.emulator
    shell.set_link(up=False)
    assert shell.emulator is before
    began = time.monotonic()
    shell.set_link(up=True)
    assert time.monotonic() - began >= 0.5
    assert shell.emulator is not before
    assert shell.emulator.running
    assert not before.running


def test_a_way_back_that_takes_the_name_along(
    started: Callable[..., Shell], tmp_path: Path
) -> None:
    """The record changes with the cable that is plugged in."""
    fault = altered("rollback-takes-the-name-along")
    assert FLEET.migration is not None
    move = FLEET.migration
    name = next(n for n, ip in FLEET.network.hosts.items() if ip == move.final)
    with open_site(FLEET.network, tmp_path / "site", deadline=soon()) as site:
        shell = started(fault, site=site)
        shell.set_link(up=False)
        before = site.dns.config.read_text()
        shell.set_link(up=True)
        assert f"{name},{move.temporary}" not in before
        assert f"{name},{move.temporary}" in site.dns.config.read_text()
        shell.close()


@pytest.mark.parametrize(
    ("name", "process", "tap"),
    [
        ("crash-of-one-restarts-the-other", "another", "on the bridge"),
        ("bridge-restart-drops-the-taps", "the same", "off the bridge"),
        ("old-vm-loses-its-bridge", "the same", "off the bridge"),
        ("old-vm-stopped-too-early", "none", "off the bridge"),
        ("dev-starves-the-old-vm", "the same", "on the bridge"),
        ("init-of-one-pauses-the-other", "the same", "on the bridge"),
    ],
)
def test_one_machine_gets_at_another(
    started: Callable[..., Shell], bench: Bench, name: str, process: str, tap: str
) -> None:
    """The first is hit by what happens to the second, never by its own verbs."""
    fault = altered(name)
    first = started(fault)
    second = started(fault, SECOND)
    pid = first.emulator.pid
    second.stop(soon())
    second.start(soon())
    second.crash()
    now = first.emulator
    kinds = {True: "the same" if now.pid == pid else "another", False: "none"}
    assert kinds[now.running] == process
    assert (first.tap in bench.site.ports()) == (tap == "on the bridge")
    paused = [
        event.name for event in now.qmp.events if event.name in {"STOP", "RESUME"}
    ]
    pauses = {"dev-starves-the-old-vm", "init-of-one-pauses-the-other"}
    assert paused == (["STOP", "RESUME"] if name in pauses else [])
