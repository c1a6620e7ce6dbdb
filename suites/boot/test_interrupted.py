"""Power cuts in the middle of a switch, and a new kernel that cannot boot."""

import pytest

from harness import Machine, NotExercised, Recorder, Verification, describe, poll
from suites.boot import checks
from suites.boot.menu import NEW_KERNEL

pytestmark = [
    pytest.mark.criterion("reboot-boots-guest-kernel"),
    pytest.mark.stage("onboarded"),
    pytest.mark.disruptive,
]

# Down, on any terminal that GRUB knows (GRUB manual, "The simple menu interface").
_DOWN = "\x0e"
_MENU = "executed automatically"
_WITH_A_MENU = f"""
{{ lib, ... }}: {{
  imports = [ ({NEW_KERNEL}) ];
  boot.loader.timeout = lib.mkForce 20;
}}
"""
_PROFILE = "/nix/var/nix/profiles/system"
_OUTPUT = "/run/acceptance/rebuild-switch/output"


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("building", id="while-building"),
        pytest.param("updating GRUB", id="while-the-menu-is-written"),
        pytest.param("activating the configuration", id="while-activating"),
    ],
)
@pytest.mark.scenario("power-cut")
def test_power_cut_during_a_switch_leaves_a_bootable_system(
    dev: Machine, check: Recorder, moment: str
) -> None:
    """The next boot takes the old generation or the new one, and a switch heals it."""
    before = dev.system.state()
    assert before.profile is not None
    dev.system.start_rebuild("switch", NEW_KERNEL)
    _cut_power_at(dev, moment)
    dev.start()

    after = dev.system.state()
    if after.boot_id == before.boot_id:
        raise NotExercised(
            "the machine to lose power", seen=f"its boot ID is still {after.boot_id}"
        )
    check(checks.one_generation_is_booted(before, after))
    assert after.booted is not None
    verified = dev.store.verify()
    damaged = not verified.clean
    if damaged:
        check.note(
            f"the power cut damaged {len(verified.problems)} store paths: "
            f"{describe(verified.problems)}"
        )
        verified = _verify_without_new_generation(dev, after.booted.path)
    check(checks.store_recovers(verified, new_generation_deleted=damaged))
    check(checks.second_switch_succeeds(dev.system.rebuild("switch", NEW_KERNEL)))
    check(checks.no_unit_failed(dev.system.failed_units(), "after the second switch"))


@pytest.mark.scenario("broken-kernel")
def test_kernel_that_cannot_boot_is_left_by_the_menu(
    dev: Machine, check: Recorder
) -> None:
    """When the new generation's kernel panics, the old entry still boots."""
    old = dev.system.state()
    dev.system.rebuild("boot", _WITH_A_MENU)
    menu = dev.system.bootloader()
    entry = menu.default
    if (
        entry is None
        or entry.kernel_file is None
        or entry.system == (old.profile and old.profile.path)
    ):
        raise NotExercised(
            "a new generation with a kernel to become the default boot entry",
            seen={
                "default entry": entry and entry.system,
                "its kernel": entry and entry.kernel_file,
            },
        )
    assert old.booted is not None
    entries = menu.entries_for(old.booted.path)
    check.require(checks.in_menu(entries, old.booted))
    # Half a kernel: it resets the machine the moment it is jumped to.
    dev.succeed("truncate", "-s", "1M", entry.kernel_file)
    dev.succeed("sync")
    mark = dev.console.size
    dev.begin_reboot()
    _await(dev, mark, _MENU)
    dev.console.send("\n")
    _await(dev, mark, rf"Booting [\s\S]*{_MENU}")
    dev.agent.close()
    _choose_on_console(dev, entries[0].position)
    dev.wait_ready(dev.deadline(90, "the guest to boot what was chosen"))
    check(checks.old_generation_boots(dev.system.state(), old.booted))
    check(
        checks.no_unit_failed(dev.system.failed_units(), "after the old entry booted")
    )


def _verify_without_new_generation(dev: Machine, booted: str) -> Verification:
    """Delete what was being deployed when the power was cut, and verify the store.

    Nix registers what it built before the data is on the disk (nix.conf(5),
    fsync-store-paths, which covers substituted paths alone), so a cut can leave valid
    paths with empty files. They must be the new generation's, and go with it.
    """
    dev.succeed("nix-env", "-p", _PROFILE, "--set", booted)
    dev.store.collect_garbage("-d")
    return dev.store.verify()


def _await(machine: Machine, mark: int, pattern: str) -> None:
    """Wait until GRUB has printed this since the mark."""
    deadline = machine.deadline(60, f"GRUB to print {pattern}")
    machine.console.wait_for(pattern, deadline, since=mark)


def _choose_on_console(machine: Machine, position: str) -> None:
    """Walk GRUB's menu by keys; `1>0` is the first entry of the second line."""
    for step in position.split(">"):
        machine.console.send(_DOWN * int(step) + "\n")


def _cut_power_at(machine: Machine, moment: str) -> None:
    """Kill QEMU when nixos-rebuild prints `moment`; the guest's caches are lost."""
    deadline = machine.deadline(300, f"nixos-rebuild to print {moment}")
    poll(
        lambda: True if moment in machine.read_file(_OUTPUT) else None,
        deadline,
        interval=0.02,
        seen=lambda: machine.read_file(_OUTPUT)[-500:],
    )
    machine.crash()
