"""What decides `onboard-infect`: the console, the files, the system, the clean-up."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from harness import (
    Bootloader,
    Budgets,
    Check,
    CommandResult,
    InodeSample,
    Quantity,
    SystemState,
    Verification,
    Vm,
    absent,
    at_least,
    at_most,
    contains,
    lacks,
    one_of,
)

_DONE = "infect: done"
NIXOS = "/etc/NIXOS"
LUSTRATE = "/etc/NIXOS_LUSTRATE"
ASIDE = "/old-root/etc/passwd"
# nixos-infect writes this on a net without IPv6, and NixOS does not boot with it.
_EMPTY_GATEWAY = re.compile(r'defaultGateway6\s*=\s*(?:""|\{[^}]*address\s*=\s*"")')


@dataclass(frozen=True, slots=True)
class Login:
    """A login on the serial console; `boot_id` is what the shell there printed.

    `missed` says which prompt did not come, `screen` what was shown last.
    """

    boot_id: str
    screen: str = ""
    missed: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a machine the same one: to ssh, to systemd, to who encrypts for it.

    `host_keys` are fingerprints, as `ssh-keygen -l` prints them.
    """

    host_keys: tuple[str, ...]
    machine_id: str


@dataclass(frozen=True, slots=True)
class Written:
    """What the conversion wrote, and the disk that it wrote it about.

    `devices` has for each mount point every path below /dev that leads to it, `disk` is
    the disk that /dev has the root file system on.
    """

    hardware: str
    networking: str
    devices: Mapping[str, Sequence[str]]
    disk: str


@dataclass(frozen=True, slots=True)
class Converted:
    """A machine after its first boot; `files` are those that exist of a few."""

    state: SystemState
    menu: Bootloader
    files: Sequence[str]
    identity: Identity


@dataclass(frozen=True, slots=True)
class CleanUp:
    """The removal of /old-root, which had `kib` and `inodes` by `du`."""

    kib: int
    inodes: int
    before: InodeSample
    after: InodeSample


def console_answers(during: str, silences: Sequence[str]) -> Check:
    """Check for a prompt after each Enter; a silence says what was missed."""
    return Check(
        "the serial console answers",
        [silence for silence in silences if silence],
        absent(),
        of="missed prompts",
        during=during,
        times_asked=len(silences),
    )


def logs_in(during: str, login: Login, boot_id: str) -> Check:
    """Check that a login reaches a shell of this boot."""
    return Check(
        "root can log in on the serial console",
        login.boot_id,
        boot_id,
        of="boot ID printed by the shell",
        during=during,
        missed=login.missed or None,
        screen=login.screen,
    )


def succeeds(name: str, done: CommandResult) -> Check:
    """Check the exit status of a conversion and its last message."""
    return Check(
        name,
        {"exit status": done.rc, "reported as done": _DONE in done.stdout},
        {"exit status": 0, "reported as done": True},
        output=done.output,
    )


def names_the_disk(written: Written) -> Iterator[Check]:
    """Check that hardware-configuration.nix has file systems that exist."""
    for mount, devices in written.devices.items():
        pattern = rf'fileSystems\."{mount}" = {{[^}}]*device = "([^"]+)"'
        found = re.search(pattern, written.hardware)
        yield Check(
            "hardware-configuration.nix names the disk's file systems",
            found[1] if found else None,
            one_of(*devices),
            of=f"device of {mount}",
        )


def files_match(written: Written, vm: Vm, gateway: IPv4Address) -> Iterator[Check]:
    """Check what the conversion wrote against disk and network."""
    yield Check(
        "the boot loader is installed on the disk that boots",
        re.findall(r'device = "([^"]*)"', written.hardware),
        contains(written.disk),
        of="devices in hardware-configuration.nix",
    )
    yield Check(
        "networking.nix has the machine's static address",
        re.findall(r'"([^"\n]*)"', written.networking),
        contains(vm.ip, gateway, vm.mac),
        of="values in networking.nix",
    )
    yield Check(
        "networking.nix asks for no DHCP",
        re.findall(r"\S*useDHCP = true", written.networking),
        absent(),
        of="settings with it",
    )
    yield Check(
        "no empty IPv6 gateway is configured",
        _EMPTY_GATEWAY.findall(written.networking),
        absent(),
        of="empty values of defaultGateway6",
    )


def network_returns(
    ip: IPv4Address,
    addresses: Sequence[object],
    outage: float,
    budgets: Budgets,
    *,
    answered: bool,
) -> Iterator[Check]:
    """Check that the machine has its address again, within a reboot's time."""
    yield Check(
        "ssh answers on the LAN after the first boot",
        answered,
        True,
        of=f"{ip} answered",
        addresses_in_the_guest=addresses,
    )
    yield Check(
        "the address is silent for no longer than a reboot takes",
        Quantity(outage, "s"),
        at_most(budgets.reboot_s),
        of="longest outage",
    )


def is_nixos(now: Converted, before: Identity) -> Iterator[Check]:
    """Check that a machine is a NixOS, booted by its own loader, and still itself."""
    booted, profile = now.state.booted, now.state.profile
    new = profile.path if profile else "a system profile"
    yield Check(
        "the machine boots its system profile",
        booted and booted.path,
        new,
        of="booted system",
    )
    default = now.menu.default
    yield Check(
        "the boot loader starts the converted system by default",
        default and default.system,
        new,
        of="system of the default entry",
    )
    if default:
        files = [
            (default.kernel, default.kernel_file),
            *zip(default.initrds, default.initrd_files, strict=False),
        ]
        yield Check(
            "kernel and initrd of the converted system are in /boot",
            [path for path, file in files if file is None],
            absent(),
            of="missing files",
            kernel=default.kernel_file,
            initrds=default.initrd_files,
        )
    yield from _files(now.files)
    yield Check(
        "the machine keeps its ssh host keys",
        now.identity.host_keys,
        before.host_keys,
        of="fingerprints",
    )
    yield Check(
        "the machine keeps its machine-id",
        now.identity.machine_id,
        before.machine_id,
        of="machine-id",
    )


def _files(files: Sequence[str]) -> Iterator[Check]:
    yield Check("the machine is a NixOS", files, contains(NIXOS), of="files")
    yield Check(
        "the old system is moved to /old-root", files, contains(ASIDE), of="files"
    )
    yield Check(
        "the first boot removes the mark of the conversion",
        files,
        lacks(LUSTRATE),
        of="files",
    )


def keeps_identity(now: Identity, before: Identity) -> Iterator[Check]:
    """Check that the old system is the same after a power cut."""
    yield Check(
        "the old system keeps its identity after a power cut",
        {"machine-id": now.machine_id, "ssh host keys": now.host_keys},
        {"machine-id": before.machine_id, "ssh host keys": before.host_keys},
    )


def frees(clean_up: CleanUp, budgets: Budgets) -> Iterator[Check]:
    """Check that the disk gets back nearly all that /old-root had."""
    before, after = clean_up.before, clean_up.after
    inodes = before.used - after.used
    yield Check(
        "removing /old-root frees its inodes",
        Quantity(inodes / clean_up.inodes, "share"),
        at_least(budgets.cleanup_share),
        of="freed share",
        freed=Quantity(inodes, "inodes"),
        in_old_root=Quantity(clean_up.inodes, "inodes"),
    )
    kib = (after.free_bytes - before.free_bytes) // 1024
    yield Check(
        "removing /old-root frees its bytes",
        Quantity(kib / clean_up.kib, "share"),
        at_least(budgets.cleanup_share),
        of="freed share",
        freed=Quantity(kib, "KiB"),
        in_old_root=Quantity(clean_up.kib, "KiB"),
    )


def store_whole(verified: Verification) -> Check:
    """Check that the store agrees with its database after a power cut."""
    return Check(
        "the store is whole after an interrupted conversion",
        verified.clean,
        True,
        of="clean",
        exit_status=verified.rc,
        problems=verified.problems,
    )
