"""What decides `reboot-boots-guest-kernel`: the boot menu, and what booted."""

from collections.abc import Iterator, Sequence

from harness import (
    Bootloader,
    Budgets,
    Check,
    Generation,
    MenuEntry,
    Quantity,
    Rebuild,
    SystemState,
    Verification,
    absent,
    at_least,
    at_most,
    contains,
    differs_from,
    one_of,
    present,
    starts_with,
)

_DIRECT_BOOT = ("-kernel", "-initrd", "-append")
_BOOTED = "/run/booted-system"


def switch_succeeds(rebuilt: Rebuild) -> Check:
    """Hold a switch to its success: after a failed one there is nothing to boot."""
    return Check(
        "the switch succeeds", rebuilt.rc, 0, of="exit status", output=rebuilt.output
    )


def waits_for_a_reboot(old: SystemState, new: SystemState) -> Iterator[Check]:
    """Hold a switch to another kernel to leave the running one alone."""
    during = "after the switch"
    yield Check(
        "a switch does not reboot",
        new.boot_id,
        old.boot_id,
        of="boot ID",
        during=during,
    )
    yield Check(
        "the old kernel runs until the reboot",
        new.kernel_release,
        old.kernel_release,
        of="uname -r",
        during=during,
    )


def menu_boots(
    menu: Bootloader, generation: Generation, during: str
) -> Iterator[Check]:
    """Hold the next boot to take this generation, from files that exist."""
    yield Check(
        "the default boot entry is the profile's generation",
        menu.default and menu.default.system,
        generation.path,
        of="default entry",
        during=during,
    )
    yield Check(
        "the boot menu has entries",
        [entry.title for entry in menu.entries],
        present(),
        of="entries",
        during=during,
    )
    yield Check(
        "kernel and initrd of every boot entry exist",
        [entry.title for entry in menu.entries if not entry.complete],
        absent(),
        of="incomplete entries",
        during=during,
    )
    yield Check(
        "no saved choice overrides the default boot entry",
        menu.pin,
        None,
        of="saved choice",
        during=during,
    )
    yield Check(
        "the boot loader leaves no temporary file",
        menu.leftovers,
        absent(),
        of="temporary files below /boot",
        during=during,
    )


def default_entry_exists(entry: MenuEntry | None) -> Check:
    """Hold the default entry to name files that exist; their size is needed next."""
    return Check(
        "the default boot entry's files exist",
        files_of(entry),
        present(),
        of="files",
        entry=entry and entry.title,
        kernel=entry and entry.kernel,
        initrds=entry and entry.initrds,
    )


def files_of(entry: MenuEntry | None) -> list[str]:
    """List the files that an entry names and that exist."""
    named = (entry.kernel_file, *entry.initrd_files) if entry else ()
    return [file for file in named if file]


def boot_has_room(
    free_mib: float, sizes_mib: Sequence[float], budgets: Budgets
) -> Check:
    """Hold /boot to room for more generations; `sizes_mib` are one's kernel and initrd.

    Without it, the switch after the next one fails. To collect old generations does
    not help: their kernels are removed only after the new one is written.
    """
    needed = sum(sizes_mib)
    return Check(
        "/boot has room for further kernels",
        free_mib / needed if needed else float("inf"),
        at_least(budgets.boot_free_factor),
        of="free space in sizes of one kernel with its initrd",
        free=Quantity(free_mib, "MiB"),
        kernel_and_initrd=Quantity(needed, "MiB"),
    )


def reboot_in_time(seconds: float, budgets: Budgets) -> Check:
    """Hold a reboot to its budget, until the guest takes commands."""
    return Check(
        "the reboot is within budget", Quantity(seconds, "s"), at_most(budgets.reboot_s)
    )


def booted(
    argv: Sequence[str],
    state: SystemState,
    expected: Generation,
    menu: Bootloader,
    during: str,
) -> Iterator[Check]:
    """Hold every part of what runs to be the expected generation's.

    `argv` is QEMU's command line, `menu` the boot menu as it is after the boot.
    """
    yield Check(
        "QEMU boots no kernel from the host",
        [word for word in argv if word in _DIRECT_BOOT],
        absent(),
        of="options for a direct kernel boot",
        during=during,
    )
    yield Check(
        "the expected generation is booted",
        state.booted and state.booted.path,
        expected.path,
        of=_BOOTED,
        during=during,
    )
    yield Check(
        "init= names a file of the booted generation",
        state.init,
        starts_with(f"{expected.path}/"),
        of="init=",
        during=during,
    )
    yield Check(
        "the booted generation has modules for the running kernel",
        state.modules_present,
        True,
        of="modules present",
        during=during,
        kernel_release=state.kernel_release,
    )
    parameters = expected.params.split()
    running = state.cmdline.split()
    yield Check(
        "the kernel's command line has the generation's parameters",
        running,
        contains(*parameters),
        of="parameters",
        during=during,
        missing=sorted(set(parameters) - set(running)),
    )
    entries = menu.entries_for(expected.path)
    yield _identical(
        "the booted kernel is identical to the boot loader's",
        {entry.kernel_sha256 for entry in entries},
        menu.digests.get(f"{_BOOTED}/kernel"),
        during,
    )
    yield _identical(
        "the booted initrd is identical to the boot loader's",
        {digest for entry in entries for digest in entry.initrd_sha256s},
        menu.digests.get(f"{_BOOTED}/initrd"),
        during,
    )


def _identical(
    name: str, menu: set[str | None], running: str | None, during: str
) -> Check:
    """Hold all entries of a generation to have the file that was booted."""
    return Check(
        name,
        # A file that cannot be read is identical to no other.
        sorted(digest or "no file in the menu" for digest in menu),
        [running or f"no file in {_BOOTED}"],
        of="SHA-256 in the menu",
        during=during,
    )


def another_kernel_runs(old: SystemState, new: SystemState) -> Check:
    """Hold the new generation to bring a kernel of another release."""
    return Check(
        "another kernel release runs than before the reboot",
        new.kernel_release,
        differs_from(old.kernel_release),
        of="uname -r",
    )


def in_menu(entries: Sequence[MenuEntry], generation: Generation) -> Check:
    """Hold the menu to offer a generation; `entries` are those that boot it."""
    return Check(
        "the old generation is in the boot menu",
        [entry.title for entry in entries],
        present(),
        of="entries of the old generation",
        generation=generation.path,
    )


def boot_changes_nothing_now(old: SystemState, new: SystemState) -> Iterator[Check]:
    """Hold `nixos-rebuild boot` to leave the running system alone."""
    during = "after nixos-rebuild boot"
    yield Check(
        "the current generation is unchanged",
        new.current and {"system": new.current.path, "kernel": new.current.kernel},
        old.current and {"system": old.current.path, "kernel": old.current.kernel},
        of="current",
        during=during,
    )
    yield Check(
        "nixos-rebuild boot does not reboot",
        new.boot_id,
        old.boot_id,
        of="boot ID",
        during=during,
    )


def rolled_back(back: SystemState, old: SystemState) -> Check:
    """Hold a rollback to make the old generation the profile's again."""
    return Check(
        "a rollback sets the profile to the old generation",
        back.profile and back.profile.path,
        old.profile and old.profile.path,
        of="profile",
    )


def one_generation_is_booted(before: SystemState, after: SystemState) -> Check:
    """Hold a boot after a power cut to take a generation that is known."""
    known = {one.path for one in after.generations}
    known |= {before.profile.path} if before.profile else set()
    return Check(
        "the old or the new generation is booted",
        after.booted and after.booted.path,
        one_of(*sorted(known)),
        of=_BOOTED,
        during="after the power cut",
    )


def store_recovers(verified: Verification, *, new_generation_deleted: bool) -> Check:
    """Hold a power cut to damage no more of the store than the new generation.

    Where it damaged the store, `verified` is the verification after that generation was
    deleted.
    """
    return Check(
        "the store verifies, if need be without the new generation",
        {"exit status": verified.rc, "problems": verified.problems},
        {"exit status": 0, "problems": ()},
        of="nix-store --verify",
        during="after the power cut",
        new_generation_deleted=new_generation_deleted,
        output=verified.output,
    )


def second_switch_succeeds(rebuilt: Rebuild) -> Check:
    """Hold a switch after the power cut to its success."""
    return Check(
        "a second switch succeeds",
        rebuilt.rc,
        0,
        of="exit status",
        output=rebuilt.output,
    )


def old_generation_boots(state: SystemState, old: Generation) -> Check:
    """Hold the old entry to boot where the new one's kernel is broken."""
    return Check(
        "the old generation is booted",
        state.booted and state.booted.path,
        old.path,
        of=_BOOTED,
        during="after the old entry was chosen in the boot menu",
    )


def no_unit_failed(failed: Sequence[str], during: str) -> Check:
    """Hold the guest to be a whole system again; `failed` are systemd's units."""
    return Check(
        "no systemd unit has failed", failed, absent(), of="failed units", during=during
    )
