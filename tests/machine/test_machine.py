"""The machine's verbs, on a real QEMU; only the programs in the guest are played."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import (
    GuestFailure,
    GuestPanicked,
    HarnessError,
    MachineDied,
    MachineError,
    SiteDied,
)
from harness.fleet import NetworkSpec
from harness.machine import save
from harness.process import kill, run
from harness.site import open_site
from tests.machine.conftest import VM, Bench
from tests.waiting import patient

if TYPE_CHECKING:
    from harness.deadline import Deadline
    from harness.site import Site

START = ["init", "tap-up", "qemu"]
END = ["qemu-end", "tap-down"]


def soon() -> Deadline:
    """Give up after 20 s."""
    return patient(20, "the test")


# Commands and waits -----------------------------------------------------------------


def test_commands_return_or_judge(bench: Bench) -> None:
    """`execute` returns, `succeed` and `fail` hold the guest to it."""
    with bench.launched() as (machine, _):
        assert machine.execute("false").rc == 1
        assert machine.succeed("echo", "a") == "echo a\n"
        assert machine.sh("echo $HOME").stdout == "sh -c echo $HOME\n"
        assert machine.fail("false") == "no\n"
        with pytest.raises(GuestFailure, match="exit status 1"):
            machine.succeed("false")
        with pytest.raises(GuestFailure, match="must fail: true"):
            machine.fail("true")


def test_a_wait_for_a_unit_ends_when_it_is_active_or_cannot_be(bench: Bench) -> None:
    """failed, and inactive with no job, are certain; a job under way is not."""
    active = {"ActiveState": "active", "Job": ""}
    with bench.launched() as (machine, agent):
        agent.units["a"] = active
        machine.wait_for_unit("a")
        for state in ("failed", "inactive"):
            agent.units["b"] = {"ActiveState": state, "Job": ""}
            started = time.monotonic()
            with pytest.raises(GuestFailure, match=f"unit b is {state}") as caught:
                machine.wait_for_unit("b", timeout=20)
            assert time.monotonic() - started < 5
            assert "systemctl status" in str(caught.value)
        agent.units["c"] = {"ActiveState": "inactive", "Job": "77"}
        with pytest.raises(GuestFailure, match="did not become active"):
            machine.wait_for_unit("c", timeout=0.3)


def test_waits_in_vain_are_the_guests_fault_and_say_what_was_seen(
    bench: Bench,
) -> None:
    """It answered, and it was wrong."""
    with bench.launched() as (machine, _):
        assert machine.wait_until_succeeds("true") == "true\n"
        with pytest.raises(GuestFailure, match="never succeeded: false") as caught:
            machine.wait_until_succeeds("false", timeout=0.3)
        assert caught.value.seen == "no\n"
        with pytest.raises(GuestFailure, match=r"port 22 on 10\.42\.97\.16"):
            machine.wait_for_open_port(22, timeout=0.3)


def test_a_guest_that_went_silent_is_no_verdict(bench: Bench) -> None:
    """It cannot be judged, so the instrument is what failed."""
    with bench.launched() as (machine, agent):
        agent.deaf = True
        with pytest.raises(HarnessError):
            machine.execute("true", timeout=0.3)


def test_a_panic_ends_a_command_at_once(bench: Bench) -> None:
    """Its own error, long before the deadline, with the last console lines."""
    started = time.monotonic()
    with bench.launched() as (machine, agent):
        agent.type("P")
        with pytest.raises(GuestPanicked) as caught:
            machine.execute("sleep", "1000", timeout=100)
    assert time.monotonic() - started < 10
    assert "sector up" in str(caught.value)


def test_the_death_of_qemu_ends_a_command_at_once(bench: Bench) -> None:
    """Another error, with how QEMU ended."""
    with bench.launched() as (machine, _):
        machine.emulator.kill()
        with pytest.raises(MachineDied, match="exit status"):
            machine.execute("sleep", "1000", timeout=100)


def test_the_death_of_the_site_is_not_blamed_on_qemu(
    image: Path, tmp_path: Path
) -> None:
    """QEMU ends with its namespaces: the error says what ended first."""
    with (
        suppress(SiteDied),
        open_site(NetworkSpec(), tmp_path / "s", deadline=soon()) as site,
        tempfile.TemporaryDirectory() as name,
        Bench(site, image, Path(name)).launched() as (machine, _),
    ):
        kill(site.sandbox.pid)
        with pytest.raises(SiteDied, match="first process of its namespaces"):
            machine.execute("sleep", "1000", timeout=100)


def test_an_error_that_leaves_takes_the_console_along(bench: Bench) -> None:
    """Errors without evidence get the last lines as notes; others pass untouched."""
    with pytest.raises(GuestFailure) as caught, bench.launched():
        raise GuestFailure("nothing known")
    assert any("sector up" in note for note in caught.value.__notes__)
    with pytest.raises(ZeroDivisionError), bench.launched("two"):
        raise ZeroDivisionError


# Life and death ---------------------------------------------------------------------


def test_steps_are_the_modules_and_nothing_is_left(bench: Bench, site: Site) -> None:
    """init, tap-up, qemu, tap-down; the tap is on the bridge in between."""
    with bench.launched() as (machine, _):
        assert machine.steps.order == START
        assert site.taps() == [VM.tap]
        assert VM.tap in site.ports()
        assert "running" in repr(machine)
    assert machine.steps.order == START + END
    assert site.taps() == []
    assert "off" in repr(machine)


def test_what_a_disk_is_built_on(bench: Bench) -> None:
    """From the nearest on; a missing one is an error, and ends the list."""
    with bench.launched() as (machine, _):
        assert machine.backing == [bench.base]
        lost = bench.directory / "lost.qcow2"
        argv = ["qemu-img", "rebase", "-u", "-F", "qcow2", "-b", str(lost)]
        machine.crash()
        run([*argv, str(machine.disk)], deadline=soon()).check()
        assert machine.backing == [lost]


def test_a_crash_keeps_the_disk_and_loses_the_memory(bench: Bench, site: Site) -> None:
    """QEMU ends by SIGKILL; the next start boots from the same disk."""
    with bench.launched() as (machine, agent):
        agent.type("abcWd")
        machine.console.wait_for("w4", soon())
        inode = machine.disk.stat().st_ino
        machine.crash()
        assert site.taps() == []
        with pytest.raises(MachineError):
            machine.execute("true")
        mark = machine.console.size
        machine.start()
        machine.console.wait_for("saved 3", soon(), since=mark)
        assert machine.disk.stat().st_ino == inode
        assert machine.steps.order == START + END + START
        assert machine.emulator.rungs == []


def test_a_reboot_is_proven(bench: Bench) -> None:
    """By QEMU's reset and a new boot id; QEMU itself goes on."""
    with bench.launched() as (machine, agent):
        pid, old = machine.emulator.pid, machine.boot_id
        reboot = machine.reboot(timeout=20)
        assert (reboot.old, reboot.new) == (old, agent.boot_id)
        assert reboot.duration > 0
        assert machine.emulator.pid == pid
        agent.reboots = False
        with pytest.raises(GuestFailure, match="did not reboot"):
            machine.reboot(timeout=20)


def test_a_reboot_that_never_happens_is_the_guests_fault(bench: Bench) -> None:
    """The guest accepted the command, and did nothing."""
    with bench.launched() as (machine, agent):
        agent.console = agent.path.parent / "emulator" / "monitor.sock"
        with pytest.raises(GuestFailure, match="did not come back from its reboot"):
            machine.reboot(timeout=1)


def test_a_qemu_that_ends_at_a_reboot_is_the_shells_fault(bench: Bench) -> None:
    """It came to an end of its own, so nothing of the instrument broke."""
    with bench.launched() as (machine, _):
        machine.qmp().execute("set-action", reboot="shutdown")
        with pytest.raises(GuestFailure, match="ended when the guest rebooted") as end:
            machine.reboot(timeout=20)
        assert "guest-reset" in end.value.seen
        assert not machine.running


def test_a_shutdown_is_the_guests_own(bench: Bench, site: Site) -> None:
    """The power button was pressed, the guest did the rest; then it starts again."""
    with bench.launched() as (machine, _):
        machine.shutdown(timeout=20)
        assert repr(machine).startswith("<Machine sector off")
        assert machine.emulator.rungs == []
        assert site.taps() == []
        assert machine.steps.taken[3].detail == "on its own, exit status 0"
        machine.start()
        assert machine.running


def test_a_retired_machine_leaves_nothing(bench: Bench, site: Site) -> None:
    """Neither process nor file nor tap, and no process with a removed file open."""
    with bench.launched() as (machine, _), site.trace(machine.directory) as left:
        assert left.processes()
        assert machine.disk in left.files
        machine.retire()
        assert (left.processes(), left.names_left()) == ([], [])
        assert site.taps() == []


def test_a_guest_deaf_to_the_power_button_is_told(bench: Bench) -> None:
    """`shutdown` judges it; `stop` goes down the ladder instead."""
    with bench.launched() as (machine, _):
        machine.qmp().execute("stop")
        with pytest.raises(GuestFailure, match="did not shut down"):
            machine.shutdown(timeout=1)
        assert repr(machine).startswith("<Machine sector running")
        machine.stop(timeout=0.3)
        assert repr(machine).startswith("<Machine sector off")
        assert machine.emulator.rungs == ["quit"]


def test_the_cable_can_be_pulled(bench: Bench) -> None:
    """QEMU's own view of the link says so."""
    with bench.launched() as (machine, _):
        machine.block_network()
        machine.unblock_network()
        said = (machine.emulator.plan.directory / "qmp.jsonl").read_text()
        assert '"up": false' in said
        assert '"up": true' in said


# Saving ---------------------------------------------------------------------------


def test_what_was_frozen_goes_on_in_private_copies(bench: Bench) -> None:
    """A copy counts on, keeps its boot id, knows its origin, and boots on its own."""
    home = bench.directory / "home"
    home.mkdir()
    with bench.launched(save_into=home) as (machine, agent):
        agent.type("abc")
        machine.console.wait_for("123", soon())
        boot_id = agent.boot_id
        save(machine, home)
        assert not machine.running
    names = {path.name for path in home.iterdir()}
    assert names == {"ram", "state", "disk.qcow2", "seed.iso", "machine.json"}
    with bench.restored(home, "two", boot_id) as (copy, agent):
        assert copy.restored_from == home
        assert copy.boot_id == boot_id
        assert "guest-set-time" in agent.seen
        agent.type("x")
        copy.console.wait_for("4", soon())
        assert "sector up" not in copy.console.text
        copy.crash()
        copy.start()
        copy.console.wait_for("sector up", soon())
        assert copy.emulator.plan.ram is None


def test_a_copy_can_be_frozen_again(bench: Bench) -> None:
    """A second stage is based on the first, which stays unchanged."""
    first, second = bench.directory / "first", bench.directory / "second"
    first.mkdir()
    second.mkdir()
    with bench.launched(save_into=first) as (machine, agent):
        agent.type("ab")
        machine.console.wait_for("12", soon())
        boot_id = agent.boot_id
        save(machine, first)
    before = (first / "ram").read_bytes()
    with bench.restored(first, "two", boot_id, save_into=second) as (machine, agent):
        agent.type("c")
        machine.console.wait_for("3", soon())
        save(machine, second)
    assert (first / "ram").read_bytes() == before
    with bench.restored(second, "three", boot_id) as (machine, agent):
        agent.type("d")
        machine.console.wait_for("4", soon())


def test_a_restore_cannot_pass_for_a_reboot(bench: Bench) -> None:
    """Nor a saved state for another machine's."""
    home = bench.directory / "home"
    home.mkdir()
    with bench.launched(save_into=home) as (machine, agent):
        boot_id = agent.boot_id
        save(machine, home)
    with (
        pytest.raises(HarnessError, match="has another boot id"),
        bench.restored(home, "two", "other"),
    ):
        pass
    bigger = VM.model_copy(update={"mem": 256})
    with (
        pytest.raises(HarnessError, match="mem: 128 then, 256 now"),
        bench.restored(home, "three", boot_id, vm=bigger),
    ):
        pass


def test_only_a_machine_launched_for_it_is_saved(bench: Bench) -> None:
    """And it goes on running otherwise."""
    with bench.launched() as (machine, _):
        with pytest.raises(HarnessError, match="save_into="):
            save(machine, bench.directory)
        assert machine.succeed("true") == "true\n"


# Evidence ---------------------------------------------------------------------------


def test_evidence_is_kept_of_the_living_and_the_dead(bench: Bench) -> None:
    """With a journal while it answers; without one, and why, when it does not."""
    alive, dead = bench.directory / "alive", bench.directory / "dead"
    with bench.launched() as (machine, _):
        machine.collect(alive)
        machine.crash()
        machine.collect(dead)
    kept = {path.name for path in alive.iterdir()}
    files = {"argv.txt", "console.log", "lifecycle.jsonl", "qemu.log", "qmp.jsonl"}
    assert kept == files | {"journal.json"}
    assert json.loads((alive / "journal.json").read_text()) == {"MESSAGE": "hello"}
    assert {path.name for path in dead.iterdir()} == files | {"journal.missing.txt"}
    assert "QEMU ended" in (dead / "journal.missing.txt").read_text()
