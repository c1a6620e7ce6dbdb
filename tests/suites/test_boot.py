"""`reboot-boots-guest-kernel`: each change of what was observed fails its own check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness import Bootloader, Budgets, MenuEntry
from suites.boot import checks
from tests.suites.observed import NEW, OLD, STATE, VERIFIED, failed

RUNNING = replace(STATE, booted=NEW, cmdline=f"init={NEW.path}/init ro quiet")
ENTRY = MenuEntry(
    position="0",
    title="NixOS",
    kernel="/kernels/k",
    initrds=("/kernels/i",),
    params=f"init={NEW.path}/init ro",
    kernel_file="/boot/kernels/k",
    kernel_sha256="k" * 64,
    initrd_files=("/boot/kernels/i",),
    initrd_sha256s=("i" * 64,),
)
DIGESTS = {
    "/run/booted-system/kernel": "k" * 64,
    "/run/booted-system/initrd": "i" * 64,
}
MENU = Bootloader("grub", (ENTRY,), ENTRY, None, DIGESTS, ())
ARGV = ("qemu-system-x86_64", "-m", "1024")
BUDGETS = Budgets()


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, set()),
        ({"default": None}, {"the default boot entry is the profile's generation"}),
        ({"entries": ()}, {"the boot menu has entries"}),
        (
            {"entries": (replace(ENTRY, initrd_files=(None,)),)},
            {"kernel and initrd of every boot entry exist"},
        ),
        ({"pin": "1>1"}, {"no saved choice overrides the default boot entry"}),
        ({"leftovers": ("/boot/x.tmp",)}, {"the boot loader leaves no temporary file"}),
    ],
)
def test_the_menu(change: dict[str, Any], names: set[str]) -> None:
    """Each property of the menu has a check."""
    assert failed(checks.menu_boots(replace(MENU, **change), NEW, "now")) == names


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, set()),
        ({"booted": None}, {"the expected generation is booted"}),
        ({"booted": OLD}, {"the expected generation is booted"}),
        (
            {"cmdline": f"init={OLD.path}/init ro"},
            {"init= names a file of the booted generation"},
        ),
        (
            {"cmdline": f"init={NEW.path}/init"},
            {"the kernel's command line has the generation's parameters"},
        ),
        (
            {"modules_present": False},
            {"the booted generation has modules for the running kernel"},
        ),
    ],
)
def test_what_runs(change: dict[str, Any], names: set[str]) -> None:
    """Each part of what runs has a check."""
    state = replace(RUNNING, **change)
    assert failed(checks.booted(ARGV, state, NEW, MENU, "now")) == names


@pytest.mark.parametrize(
    ("menu", "name"),
    [
        (replace(MENU, digests={}), "kernel"),
        (replace(MENU, entries=()), "kernel"),
        (
            replace(MENU, entries=(ENTRY, replace(ENTRY, kernel_sha256="x" * 64))),
            "kernel",
        ),
        (
            replace(
                MENU, digests={}, entries=(replace(ENTRY, initrd_sha256s=(None,)),)
            ),
            "initrd",
        ),
    ],
)
def test_a_file_is_compared_by_content(menu: Bootloader, name: str) -> None:
    """One that cannot be read is identical to no other."""
    names = failed(checks.booted(ARGV, RUNNING, NEW, menu, "now"))
    assert f"the booted {name} is identical to the boot loader's" in names


def test_a_kernel_from_the_host() -> None:
    """QEMU's own options for it."""
    argv = (*ARGV, "-kernel", "/host/bzImage")
    assert failed(checks.booted(argv, RUNNING, NEW, MENU, "now")) == {
        "QEMU boots no kernel from the host"
    }


def test_room_on_boot() -> None:
    """Twice what one generation takes, by the default budget."""
    assert checks.boot_has_room(120.0, [20.0, 40.0], BUDGETS).held
    assert not checks.boot_has_room(119.0, [20.0, 40.0], BUDGETS).held
    assert not checks.default_entry_exists(None).held


def test_after_a_switch_or_rebuild_boot() -> None:
    """Nothing that runs may change before the reboot."""
    other = replace(STATE, boot_id="b2", kernel_release="6.13", current=OLD)
    assert failed(checks.waits_for_a_reboot(STATE, STATE)) == set()
    assert len(failed(checks.waits_for_a_reboot(STATE, other))) == 2
    assert failed(checks.boot_changes_nothing_now(STATE, STATE)) == set()
    assert len(failed(checks.boot_changes_nothing_now(STATE, other))) == 2
    assert not checks.another_kernel_runs(STATE, STATE).held
    assert checks.another_kernel_runs(STATE, other).held
    assert not checks.rolled_back(replace(STATE, profile=OLD), STATE).held


def test_after_a_power_cut() -> None:
    """A known generation runs, and the store is whole."""
    assert checks.one_generation_is_booted(STATE, RUNNING).held
    stranger = replace(STATE, booted=replace(OLD, path="/nix/store/c-nixos"))
    assert not checks.one_generation_is_booted(STATE, stranger).held
    damaged = replace(VERIFIED, rc=1)
    assert not checks.store_recovers(damaged, new_generation_deleted=True).held
    assert checks.store_recovers(VERIFIED, new_generation_deleted=True).held
    assert not checks.old_generation_boots(RUNNING, OLD).held
    assert not checks.no_unit_failed(("x.service",), "now").held
