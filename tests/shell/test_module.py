"""init → tap-up → qemu → tap-down: the order, twice, and with accidents."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, HarnessError, LaunchFailed
from harness.process import alive
from harness.shell import Init, ModuleShell, Recipe, gateway_of
from harness.shell.steps import INIT, QEMU, QEMU_END, TAP_DOWN, TAP_UP
from tests.machine.conftest import ACCELERATOR, VM
from tests.qemu.sector import BANNER
from tests.qemu.test_launch import soon, type_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machine.conftest import Bench

WHOLE = [INIT, TAP_UP, QEMU, QEMU_END, TAP_DOWN]


@pytest.fixture
def recipe(bench: Bench) -> Recipe:
    """Give the recipe of the boot-sector guest."""
    return Recipe(
        vm=VM,
        directory=bench.directory / "m",
        accelerator=ACCELERATOR,
        gateway=gateway_of(bench.site),
        base=bench.base,
    )


@pytest.fixture
def init(recipe: Recipe) -> Init:
    """Give the init oneshot of the boot-sector guest."""
    recipe.directory.mkdir()
    return Init(
        vm=VM,
        gateway=recipe.gateway,
        base=recipe.base,
        disk=recipe.disk,
        seed=recipe.seed,
    )


@pytest.fixture
def shell(bench: Bench, recipe: Recipe) -> Iterator[ModuleShell]:
    """Give a shell that runs the boot-sector guest."""
    shell = ModuleShell(recipe, bench.site)
    yield shell
    shell.close()


def test_takes_its_steps_in_order(bench: Bench, shell: ModuleShell) -> None:
    """The log in memory and on disk say the same."""
    shell.start(soon())
    assert shell.log.order == WHOLE[:3]
    assert bench.site.taps() == [shell.tap]
    shell.close()
    shell.close()
    assert shell.log.order == WHOLE
    assert bench.site.taps() == []
    kept = (shell.directory / "lifecycle.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in kept] == WHOLE
    times = [step.at for step in shell.log.taken]
    assert times == sorted(times)
    assert shell.log.since(QEMU_END) == [TAP_DOWN]
    assert shell.log.since("never") == WHOLE


def test_a_second_start_keeps_the_disk(shell: ModuleShell) -> None:
    """What the guest wrote is there again; the file is the same one."""
    first = shell.start(soon())
    first.console.wait_for(BANNER + "0\n", soon("the guest"))
    assert type_keys(first, "abcW") == "123w"
    inode = shell.disk.stat().st_ino
    mark = first.console.size
    second = shell.start(soon())
    second.console.wait_for(BANNER + "3\n", soon("the guest"), since=mark)
    assert shell.disk.stat().st_ino == inode
    assert shell.log.order == WHOLE + WHOLE[:3]
    assert shell.log.taken[5].detail == "disk already present, seed already present"


def test_tap_down_comes_after_a_crash_of_qemu(bench: Bench, shell: ModuleShell) -> None:
    """QEMU's end is noted with its signal; a next start finds nothing in its way."""
    emulator = shell.start(soon())
    os.kill(emulator.pid, signal.SIGKILL)
    emulator.wait_end(soon())
    assert not shell.restarted(soon())
    again = shell.start(soon())
    assert shell.log.order == WHOLE + WHOLE[:3]
    assert shell.log.taken[3].detail == "on its own, exit status -9"
    assert bench.site.taps() == [shell.tap]
    shell.crash()
    assert not alive(again.pid)
    assert shell.log.taken[-2].detail == "SIGKILL, exit status -9"
    assert bench.site.taps() == []


def test_tap_down_comes_when_qemu_does_not(bench: Bench, recipe: Recipe) -> None:
    """A launch that fails takes down what was up before it."""
    recipe.adapt = lambda plan: replace(plan, extra=("-nonsense",))
    shell = ModuleShell(recipe, bench.site)
    with pytest.raises(LaunchFailed):
        shell.start(soon())
    assert shell.log.order == [INIT, TAP_UP, TAP_DOWN]
    assert bench.site.taps() == []


def test_a_stop_asks_the_guest_and_waits(bench: Bench, shell: ModuleShell) -> None:
    """One that answers ends itself; one that does not is left running."""
    emulator = shell.start(soon())
    emulator.qmp.execute("stop")
    with pytest.raises(DeadlineExpired):
        shell.stop(Deadline.after(0.3, "a stopped guest to end"))
    assert emulator.running
    emulator.qmp.execute("cont")
    shell.stop(soon())
    assert shell.log.taken[-2].detail == "on its own, exit status 0"
    assert bench.site.taps() == []


def test_a_deploy_is_for_the_next_start(shell: ModuleShell) -> None:
    """What runs is left alone."""
    emulator = shell.start(soon())
    shell.deploy({"mem": VM.mem + 32}, soon())
    assert shell.emulator is emulator
    assert emulator.running
    assert shell.start(soon()).plan.mem == VM.mem + 32


def test_what_is_retired_or_reset_leaves_no_state(
    shell: ModuleShell, recipe: Recipe, bench: Bench
) -> None:
    """A retired one is gone; one that is reset has a new disk at its next start."""
    shell.start(soon())
    inode = shell.disk.stat().st_ino
    held = shell.disk.open("rb")
    shell.reset(bench.base)
    assert not recipe.directory.exists()
    shell.start(soon())
    assert shell.disk.stat().st_ino != inode
    held.close()
    shell.retire(soon())
    assert not recipe.directory.exists()
    assert bench.site.taps() == []


def test_init_makes_what_is_missing_and_no_more(init: Init) -> None:
    """Each half by itself, in either order."""
    assert init(soon()) == f"disk created on {init.base}, seed created"
    before = {p: p.stat() for p in (init.disk, init.seed)}
    assert init(soon()) == "disk already present, seed already present"
    assert {p: p.stat() for p in (init.disk, init.seed)} == before
    init.seed.unlink()
    assert init(soon()) == "disk already present, seed created"


def test_an_interrupted_init_is_made_good(init: Init) -> None:
    """What a killed init leaves is never taken for a disk."""
    for path in (init.disk, init.seed):
        path.with_name(path.name + ".partial").write_bytes(b"half")
    init(soon())
    assert init.disk.read_bytes()[:4] == b"QFI\xfb"
    left = {path.name for path in init.disk.parent.iterdir()}
    assert left == {"disk.qcow2", "seed.iso"}


def test_a_missing_base_leaves_no_disk(init: Init) -> None:
    """The next start tries again instead of booting nothing."""
    lost = Init(
        vm=VM,
        gateway=init.gateway,
        base=init.base.with_name("lost.qcow2"),
        disk=init.disk,
        seed=init.seed,
    )
    with pytest.raises(HarnessError, match=r"lost\.qcow2"):
        lost(soon())
    assert not init.disk.exists()
