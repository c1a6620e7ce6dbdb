"""`reboot-boots-guest-kernel`: decided on a guest that changed its own kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import NotExercised
from suites.boot.judge import (
    NEW_KERNEL,
    choose_once,
    judge_alive,
    judge_boot,
    judge_menu,
    judge_room,
)

if TYPE_CHECKING:
    from harness import Budgets, Machine, Recorder, SystemState

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
    # After a failed switch there is nothing to reboot into: that is the verdict.
    rebuilt = dev.system.rebuild("switch", NEW_KERNEL)
    check.require("the switch succeeds", rebuilt.succeeded, rebuilt.output[-2000:])
    new = dev.system.state()
    _must_await_a_reboot(check, old, new)
    menu = dev.system.bootloader()
    assert new.profile is not None
    judge_menu(check, menu, new.profile)
    judge_room(check, dev, menu, budgets.boot_free_factor)

    reboot = dev.reboot()
    check.check(
        "the reboot is within budget",
        reboot.duration <= budgets.reboot_s,
        f"{reboot.duration:.0f} s of {budgets.reboot_s} s",
    )
    booted = dev.system.state()
    judge_boot(check, dev, booted, new.profile, dev.system.bootloader())
    check.check(
        "another kernel than before runs",
        booted.kernel_release != old.kernel_release,
        f"{booted.kernel_release} before and after",
    )
    judge_alive(check, dev)

    assert old.booted is not None
    entries = menu.entries_for(old.booted.path)
    check.require(
        "the old generation is in the boot menu",
        entries,
        f"{old.booted.path} is in none of {len(menu.entries)} entries",
    )
    choose_once(dev, entries[0])
    dev.reboot()
    judge_boot(check, dev, dev.system.state(), old.booted, dev.system.bootloader())


@pytest.mark.scenario("rollback")
def test_rebuild_boot_and_rollback_take_effect_at_the_next_boot(
    dev: Machine, check: Recorder
) -> None:
    """`nixos-rebuild boot` changes nothing now, and a rollback takes it back."""
    old = dev.system.state()
    dev.system.rebuild("boot", NEW_KERNEL)
    new = dev.system.state()
    if new.profile_number == old.profile_number or new.profile is None:
        raise NotExercised("`nixos-rebuild boot` made a new generation")
    check.check(
        "`boot` leaves the running system alone",
        new.current == old.current and new.boot_id == old.boot_id,
        f"current system went from {old.current} to {new.current}",
    )
    judge_menu(check, dev.system.bootloader(), new.profile)
    dev.reboot()
    judge_boot(check, dev, dev.system.state(), new.profile, dev.system.bootloader())

    dev.system.rebuild("switch", rollback=True)
    back = dev.system.state()
    assert back.profile is not None
    assert old.profile is not None
    check.require(
        "rollback points the profile at the old generation",
        back.profile.path == old.profile.path,
        f"profile is {back.profile.path}, expected {old.profile.path}",
    )
    judge_menu(check, dev.system.bootloader(), back.profile)
    dev.reboot()
    judge_boot(check, dev, dev.system.state(), old.profile, dev.system.bootloader())
    judge_alive(check, dev)


def _must_await_a_reboot(check: Recorder, old: SystemState, new: SystemState) -> None:
    """After a switch alone the old kernel runs on, and the drift shows."""
    if new.profile == old.profile:
        raise NotExercised("the switch made a new generation")
    if not new.reboot_pending:
        raise NotExercised(
            "the switch changed the kernel",
            seen="/run/booted-system and /run/current-system have the same one",
        )
    check.check(
        "a switch alone never reboots",
        new.boot_id == old.boot_id,
        f"boot id was {old.boot_id}, is {new.boot_id}",
    )
    check.check(
        "the old kernel runs until the reboot",
        new.kernel_release == old.kernel_release,
        f"{old.kernel_release} became {new.kernel_release}",
    )
