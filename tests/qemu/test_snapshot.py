"""Saving and restoring a real, if tiny, guest."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.errors import HarnessError, MachineError
from harness.qemu import Disk, Emulator, MachinePlan, Ram, SavedState, disk, launch
from harness.qemu import snapshot as subject
from tests.qemu.sector import BANNER, READY, plan
from tests.qemu.test_launch import soon, type_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def template(directory: Path, home: Path, base: Path) -> MachinePlan:
    """Plan a machine whose disk and RAM are in `home`, to be saved there."""
    home.mkdir(exist_ok=True)
    disk.overlay(home / "disk.qcow2", base, soon())
    ram = Ram(path=home / "ram", shared=True)
    return plan(directory, home / "disk.qcow2", ram=ram)


@contextmanager
def copy(directory: Path, home: Path, kind: str) -> Iterator[Emulator]:
    """Run a private copy of what was saved in `home`."""
    directory.mkdir()
    own = Disk(path=directory / "disk.qcow2", serial="sector")
    if kind == "template":
        disk.overlay(own.path, home / "disk.qcow2", soon())
        ram, incoming = Ram(path=home / "ram", shared=False), True
    else:
        disk.copy_sparse(home / "disk.qcow2", own.path, soon())
        ram, incoming = None, False
    made = plan(directory, ram=ram, incoming=incoming, paused=True)
    with launch(replace(made, disk=own), deadline=soon()) as emulator:
        subject.restore(emulator.qmp, home, kind, soon())
        yield emulator


def saved(directory: Path, sector: Path, keys: str) -> str:
    """Boot the guest, type `keys`, save it into `directory/home`."""
    home = directory / "home"
    made = template(directory / "first", home, sector)
    with launch(made, deadline=soon()) as emulator:
        emulator.console.wait_for(READY, soon("the guest"))
        type_keys(emulator, keys)
        return subject.save(emulator.qmp, home, soon())


def test_copies_go_on_from_the_same_point_and_keep_apart(
    directory: Path, sector: Path
) -> None:
    """Two copies at once share nothing but the past; the template stays as it was."""
    assert saved(directory, sector, "abc") == "template"
    home = directory / "home"
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    with (
        copy(directory / "one", home, "template") as one,
        copy(directory / "two", home, "template") as two,
    ):
        assert type_keys(one, "xxW") == "45w"
        assert type_keys(two, "x") == "4"
        mark = one.console.size
        one.console.send("R")
        one.console.wait_for(BANNER + "5\n", soon("a reboot of one"), since=mark)
        two.console.send("R")
        two.console.wait_for(BANNER + "0\n", soon("a reboot of two"))
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before


def test_a_restore_is_no_boot(directory: Path, sector: Path) -> None:
    """The firmware and the boot sector do not run again."""
    saved(directory, sector, "a")
    with copy(directory / "one", directory / "home", "template") as one:
        assert type_keys(one, "x") == "2"
        assert BANNER not in one.console.text
        names = [event.name for event in one.qmp.events]
        assert "RESET" not in names


def test_falls_back_to_a_snapshot_inside_the_disk(
    directory: Path, sector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where QEMU does not know the capability, RAM is saved in the disk."""
    monkeypatch.setattr(subject, "_IGNORE_SHARED", "x-unheard-of")
    assert saved(directory, sector, "abc") == "internal"
    with copy(directory / "one", directory / "home", "internal") as one:
        assert type_keys(one, "xW") == "4w"


def test_a_state_that_is_cut_short_is_an_error(directory: Path, sector: Path) -> None:
    """A half-written state never becomes a running guest."""
    saved(directory, sector, "a")
    state = directory / "home" / "state"
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    with (
        pytest.raises(MachineError),
        copy(directory / "one", directory / "home", "template"),
    ):
        pass


def test_a_write_log_records_the_guests_writes(directory: Path, sector: Path) -> None:
    """What a power cut would leave can be rebuilt from it (magic of dm-log-writes)."""
    own, log = directory / "disk.qcow2", directory / "writes"
    disk.overlay(own, sector, soon())
    log.touch()
    logged = Disk(path=own, serial="sector", honest_flushes=True, write_log=log)
    made = replace(plan(directory), disk=logged)
    with launch(made, deadline=soon()) as emulator:
        emulator.console.wait_for(BANNER + "0\n", soon("the guest"))
        assert type_keys(emulator, "abcW") == "123w"
    assert log.read_bytes()[:8] == (0x6A736677736872).to_bytes(8, "little")


def test_what_is_frozen_describes_itself(tmp_path: Path) -> None:
    """machine.json reads back as it was written."""
    facts = SavedState(
        kind="template", name="dev", mac="52:54:00:00:00:01", mem=1024, vcpu=2,
        machine_type="q35", accelerator="tcg", cpu="max", qemu="7.2.22",
        boot_id="24ffb7ed", saved_at=1.5,
    )  # fmt: skip
    facts.write(tmp_path)
    assert SavedState.read(tmp_path) == facts


@pytest.mark.parametrize("text", [None, "", "{}", '{"format": 1}', '{"format": 9}'])
def test_what_is_not_frozen_is_refused(tmp_path: Path, text: str | None) -> None:
    """Missing, empty, foreign: one error with a hint."""
    if text is not None:
        (tmp_path / "machine.json").write_text(text)
    with pytest.raises(HarnessError, match="harness clean"):
        SavedState.read(tmp_path)
