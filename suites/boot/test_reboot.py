"""`reboot-boots-guest-kernel`: decided on a guest that changed its own kernel."""

import pytest

from harness import (
    Bootloader,
    Budgets,
    Generation,
    Machine,
    NotExercised,
    Recorder,
    SystemState,
)
from suites.boot import checks
from suites.boot.menu import NEW_KERNEL, choose_once, free_mib, sizes_mib

pytestmark = [
    pytest.mark.criterion("reboot-boots-guest-kernel"),
    pytest.mark.stage("onboarded"),
    pytest.mark.disruptive,
]


@pytest.mark.scenario("new-kernel")
@pytest.mark.fastest
def test_reboot_boots_the_kernel_that_the_guest_built(
    dev: Machine, check: Recorder, budgets: Budgets
) -> None:
    """Switch to another kernel, reboot into it, then boot the old one from the menu."""
    old = dev.system.state()
    check.require(checks.switch_succeeds(dev.system.rebuild("switch", NEW_KERNEL)))
    new = dev.system.state()
    _must_await_a_reboot(old, new)
    check(checks.waits_for_a_reboot(old, new))
    menu = dev.system.bootloader()
    assert new.profile is not None
    check(checks.menu_boots(menu, new.profile, "after the switch"))
    _judge_room(dev, check, menu, budgets)

    check(checks.reboot_in_time(dev.reboot().duration, budgets))
    booted = _judge_boot(dev, check, new.profile, "after the reboot")
    check(checks.another_kernel_runs(old, booted))
    check(checks.no_unit_failed(dev.system.failed_units(), "after the reboot"))

    assert old.booted is not None
    entries = menu.entries_for(old.booted.path)
    check.require(checks.in_menu(entries, old.booted))
    choose_once(dev, entries[0])
    dev.reboot()
    _judge_boot(dev, check, old.booted, "after the old entry was chosen")


@pytest.mark.scenario("rollback")
def test_rebuild_boot_and_rollback_take_effect_at_the_next_boot(
    dev: Machine, check: Recorder
) -> None:
    """`nixos-rebuild boot` changes nothing now, and a rollback takes it back."""
    old = dev.system.state()
    dev.system.rebuild("boot", NEW_KERNEL)
    new = dev.system.state()
    if new.profile_number == old.profile_number or new.profile is None:
        raise NotExercised(
            "`nixos-rebuild boot` to make a new generation",
            seen=f"the profile's generation is still {new.profile_number}",
        )
    check(checks.boot_changes_nothing_now(old, new))
    during = "after nixos-rebuild boot"
    check(checks.menu_boots(dev.system.bootloader(), new.profile, during))
    dev.reboot()
    _judge_boot(dev, check, new.profile, "after the first reboot")

    dev.system.rebuild("switch", rollback=True)
    back = dev.system.state()
    assert back.profile is not None
    assert old.profile is not None
    check.require(checks.rolled_back(back, old))
    during = "after the rollback"
    check(checks.menu_boots(dev.system.bootloader(), back.profile, during))
    dev.reboot()
    during = "after the second reboot"
    _judge_boot(dev, check, old.profile, during)
    check(checks.no_unit_failed(dev.system.failed_units(), during))


def _judge_boot(
    dev: Machine, check: Recorder, expected: Generation, during: str
) -> SystemState:
    """Observe what runs and the menu that it was booted from, and record both."""
    state = dev.system.state()
    menu = dev.system.bootloader()
    check(checks.booted(dev.argv, state, expected, menu, during))
    return state


def _judge_room(
    dev: Machine, check: Recorder, menu: Bootloader, budgets: Budgets
) -> None:
    """Measure /boot and what one generation takes of it."""
    check.require(checks.default_entry_exists(menu.default))
    files = checks.files_of(menu.default)
    sizes = sizes_mib(dev, files)
    check(checks.boot_has_room(free_mib(dev, files[0]), sizes, budgets))


def _must_await_a_reboot(old: SystemState, new: SystemState) -> None:
    """Raise NotExercised where the switch brought no other kernel."""
    if new.profile == old.profile:
        raise NotExercised(
            "the switch to make a new generation",
            seen=f"the profile's generation is still {new.profile_number}",
        )
    if not new.reboot_pending:
        raise NotExercised(
            "the switch to change kernel, initrd or modules",
            seen="/run/booted-system and /run/current-system have the same ones",
        )
