"""init → tap-up → qemu → tap-down: the order, twice, and with accidents."""

from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING

import pytest

from harness.errors import HarnessError, LaunchFailed
from harness.fleet import Vm
from harness.process import alive
from harness.qemu import Init, StepLog, Unit
from harness.qemu.lifecycle import INIT, QEMU, QEMU_END, TAP_DOWN, TAP_UP
from tests.qemu.sector import BANNER, plan
from tests.qemu.test_launch import soon, type_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

VM = Vm(
    name="sector", mac="52:54:00:00:00:01", ip=IPv4Address("10.42.97.16"), disk_size_g=1
)
GATEWAY = IPv4Interface("10.42.97.1/24")
WHOLE = [INIT, TAP_UP, QEMU, QEMU_END, TAP_DOWN]


@dataclass
class LoopbackLan:
    """A site without a network: it counts the taps that are up."""

    up: list[str] = field(default_factory=list)

    def enter(self, argv: Sequence[str]) -> list[str]:
        """Run it right here."""
        return list(argv)

    @contextmanager
    def tap(self, machine_name: str) -> Iterator[str]:
        """Pretend to have a tap."""
        self.up.append(machine_name)
        try:
            yield f"tap-{machine_name}"
        finally:
            self.up.remove(machine_name)


@pytest.fixture
def lan() -> LoopbackLan:
    """Give a LAN of no wires."""
    return LoopbackLan()


@pytest.fixture
def init(directory: Path, sector: Path) -> Init:
    """Give the init oneshot of the boot-sector guest."""
    return Init(
        vm=VM,
        gateway=GATEWAY,
        base=sector,
        disk=directory / "disk.qcow2",
        seed=directory / "seed.iso",
    )


@pytest.fixture
def unit(lan: LoopbackLan, init: Init, directory: Path) -> Iterator[Unit]:
    """Give a unit that runs the boot-sector guest."""
    unit = Unit(
        "sector",
        lan,
        init=init,
        plan=lambda _tap: plan(directory, init.disk),
        journal=StepLog(directory / "lifecycle.jsonl"),
    )
    yield unit
    unit.close()


def test_takes_its_steps_in_order(
    unit: Unit, lan: LoopbackLan, directory: Path
) -> None:
    """The journal in memory and on disk say the same."""
    unit.start(soon())
    assert unit.journal.order == WHOLE[:3]
    assert lan.up == ["sector"]
    unit.close()
    unit.close()
    assert unit.journal.order == WHOLE
    assert lan.up == []
    kept = (directory / "lifecycle.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in kept] == WHOLE
    times = [step.at for step in unit.journal.taken]
    assert times == sorted(times)


def test_a_second_start_keeps_the_disk(unit: Unit, init: Init) -> None:
    """What the guest wrote is there again; the file is the same one."""
    first = unit.start(soon())
    first.console.wait_for(BANNER + "0\n", soon("the guest"))
    assert type_keys(first, "abcW") == "123w"
    inode = init.disk.stat().st_ino
    mark = first.console.size
    second = unit.start(soon())
    second.console.wait_for(BANNER + "3\n", soon("the guest"), since=mark)
    assert init.disk.stat().st_ino == inode
    assert unit.journal.order == WHOLE + WHOLE[:3]
    assert unit.journal.taken[5].detail == "disk already present, seed already present"


def test_tap_down_comes_after_a_crash_of_qemu(unit: Unit, lan: LoopbackLan) -> None:
    """QEMU's end is noted with its signal; a next start finds nothing in its way."""
    emulator = unit.start(soon())
    os.kill(emulator.pid, signal.SIGKILL)
    emulator.wait_end(soon())
    again = unit.start(soon())
    assert unit.journal.order == WHOLE + WHOLE[:3]
    assert unit.journal.taken[3].detail == "by itself, exit status -9"
    assert lan.up == ["sector"]
    unit.close()
    assert not alive(again.pid)
    assert lan.up == []


def test_tap_down_comes_when_qemu_does_not(
    lan: LoopbackLan, init: Init, directory: Path
) -> None:
    """A launch that fails takes down what was up before it."""
    unit = Unit(
        "sector",
        lan,
        init=init,
        plan=lambda _tap: plan(directory, extra=("-nonsense",)),
        journal=StepLog(directory / "lifecycle.jsonl"),
    )
    with pytest.raises(LaunchFailed):
        unit.start(soon())
    assert unit.journal.order == [INIT, TAP_UP, TAP_DOWN]
    assert lan.up == []


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
        gateway=GATEWAY,
        base=init.base.with_name("lost.qcow2"),
        disk=init.disk,
        seed=init.seed,
    )
    with pytest.raises(HarnessError, match=r"lost\.qcow2"):
        lost(soon())
    assert not init.disk.exists()
