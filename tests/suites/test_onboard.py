"""`onboard-*` and `bento-pull`: each change of what was observed fails its check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness import (
    Bootloader,
    Budgets,
    CommandResult,
    Generation,
    InodeSample,
    LabState,
    MenuEntry,
    Rebuild,
    Secret,
    SecretsState,
    StoreSearch,
    SystemState,
    Vm,
)
from harness.fleet import load_fleet
from suites.onboard.checks import conversion, host, pulls, secrets
from suites.onboard.fleet_server import Pull
from tests.gates.source import ROOT
from tests.suites.observed import failed

FLEET = load_fleet(ROOT / "fleet.toml")
VM = FLEET.vms["dev"]
GATEWAY = FLEET.network.gateway
BUDGETS = Budgets()
SYSTEM = Generation("/nix/store/n-nixos", "k", "i", "n", "m", "d", "25.11", "ro")
STATE = SystemState(
    boot_id="b1",
    uptime=10.0,
    kernel_release="6.12.1",
    cmdline="",
    booted=SYSTEM,
    current=SYSTEM,
    profile=SYSTEM,
    profile_number=2,
    generations=(),
    modules_present=True,
    pid1_exe=None,
    leftovers=(),
)
OTHER = replace(SYSTEM, path="/nix/store/o-nixos")
ENTRY = MenuEntry(
    position="0",
    title="NixOS",
    kernel="/kernels/k",
    initrds=("/kernels/i",),
    params=f"init={SYSTEM.path}/init ro",
    kernel_file="/boot/kernels/k",
    initrd_files=("/boot/kernels/i",),
)
IDENTITY = conversion.Identity(("SHA256:a", "SHA256:b"), "m1")
CONVERTED = conversion.Converted(
    STATE,
    Bootloader("grub", (ENTRY,), ENTRY, None, {}, ()),
    (conversion.NIXOS, conversion.ASIDE),
    IDENTITY,
)
WRITTEN = conversion.Written(
    hardware="""
  fileSystems."/" = { device = "/dev/disk/by-uuid/1"; fsType = "ext4"; };
  fileSystems."/boot" = { device = "/dev/vda1"; fsType = "ext4"; };
  boot.loader.grub.device = "/dev/vda";
""",
    networking=f"""
  defaultGateway = {{ address = "{GATEWAY}"; interface = "eth0"; }};
  address = "{VM.ip}"; mac = "{VM.mac}"; useDHCP = false;
""",
    devices={
        "/": ("/dev/vda2", "/dev/disk/by-uuid/1"),
        "/boot": ("/dev/vda1", "/dev/disk/by-uuid/2"),
    },
    disk="/dev/vda",
)
PULL = Pull("success", 0, "i1", "building the system configuration...\n", False, False)
NO_NEWS = replace(PULL, log="no update required\n")
LAB = LabState(
    uptime=100.0,
    properties={
        "ActiveState": "active",
        "MainPID": "7",
        "KillMode": "process",
        "Type": "simple",
        "Restart": "on-failure",
        "RestartUSec": "5s",
        "Delegate": "no",
        "User": "lab",
        "ExecStart": "{ path=/nix/store/l/bin/lab ; argv[]=/nix/store/l/bin/lab ; }",
    },
    main=None,
    server=None,
    manager=None,
    sessions={},
    tmux_error="",
    sockets=(),
    cgroup_pids=(),
    subtree_control="",
    status=200,
    page="",
)
KEY = Secret("lab", "lab", "400", "k" * 64)
SECRETS = SecretsState(
    link="/run/secrets.d/2",
    fstype="ramfs",
    kept=("2",),
    files={
        "lab-master-key": KEY,
        secrets.NAME: Secret("lab", "lab", "440", "d" * 64),
    },
)
REBUILT = Rebuild(("nixos-rebuild", "switch"), 0, "", 1.0, 2.0)


@pytest.mark.parametrize(
    ("rc", "stdout", "held"),
    [
        (0, "infect: building\ninfect: done, reboot\n", True),
        (1, "infect: done, reboot\n", False),
        (0, "infect: building\n", False),
    ],
)
def test_a_conversion_succeeds(rc: int, stdout: str, *, held: bool) -> None:
    """Its exit status is 0 and it reports its end."""
    check = conversion.succeeds("it", CommandResult(("infect",), rc, stdout, ""))
    assert check.held is held


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("", "", set()),
        ("by-uuid/1", "by-label/ESP", {"names the disk's file systems"}),
        ('fileSystems."/boot"', 'swapDevices."x"', {"names the disk's file systems"}),
        ('"/dev/vda"', '"/dev/sda"', {"the boot loader is installed on the disk"}),
        (f'"{VM.ip}"', '"10.0.0.1"', {"has the machine's static address"}),
        (f'"{VM.mac}"', '"52:54:00:00:00:01"', {"has the machine's static address"}),
        ("useDHCP = false", "useDHCP = true", {"networking.nix asks for no DHCP"}),
        ("useDHCP", 'defaultGateway6 = ""; useDHCP', {"no empty IPv6 gateway"}),
        (
            "useDHCP",
            'defaultGateway6 = { address = ""; }; useDHCP',
            {"no empty IPv6 gateway"},
        ),
    ],
)
def test_what_a_conversion_writes(old: str, new: str, names: set[str]) -> None:
    """Each line that is wrong fails the check about it, and no other."""
    changed = replace(
        WRITTEN,
        hardware=WRITTEN.hardware.replace(old, new) if old else WRITTEN.hardware,
        networking=WRITTEN.networking.replace(old, new) if old else WRITTEN.networking,
    )
    found = failed(conversion.names_the_disk(changed))
    found |= failed(conversion.files_match(changed, VM, GATEWAY))
    assert len(found) == len(names)
    assert all(any(part in name for name in found) for part in names)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, set()),
        (
            {"state": replace(STATE, booted=None)},
            {"the machine boots its system profile"},
        ),
        (
            {"state": replace(STATE, booted=None, profile=None)},
            {
                "the machine boots its system profile",
                "the boot loader starts the converted system by default",
            },
        ),
        (
            {"menu": replace(CONVERTED.menu, default=None)},
            {"the boot loader starts the converted system by default"},
        ),
        (
            {"menu": replace(CONVERTED.menu, default=replace(ENTRY, kernel_file=None))},
            {"kernel and initrd of the converted system are in /boot"},
        ),
        ({"files": (conversion.ASIDE,)}, {"the machine is a NixOS"}),
        ({"files": (conversion.NIXOS,)}, {"the old system is moved to /old-root"}),
        (
            {"files": (*CONVERTED.files, conversion.LUSTRATE)},
            {"the first boot removes the mark of the conversion"},
        ),
        (
            {"identity": replace(IDENTITY, host_keys=("SHA256:a",))},
            {"the machine keeps its ssh host keys"},
        ),
        (
            {"identity": replace(IDENTITY, machine_id="m2")},
            {"the machine keeps its machine-id"},
        ),
    ],
)
def test_a_converted_machine(change: dict[str, Any], names: set[str]) -> None:
    """It is a NixOS, boots by its own loader and is the same machine."""
    now = replace(CONVERTED, **change)
    assert failed(conversion.is_nixos(now, IDENTITY)) == names


def test_the_clean_up() -> None:
    """A share below the budget fails, for inodes and bytes alike."""
    before = InodeSample("/", "ext4", 1.0, 1000, 500, 10**9, 10**6)
    after = replace(before, free=680, free_bytes=10**6 + 1024 * 170)
    clean_up = conversion.CleanUp(170, 180, before, after)
    assert failed(conversion.frees(clean_up, BUDGETS)) == set()
    less = replace(clean_up, kib=200, inodes=201)
    assert failed(conversion.frees(less, BUDGETS)) == {
        "removing /old-root frees its inodes",
        "removing /old-root frees its bytes",
    }


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("Restart", "always", "lab has Restart=on-failure"),
        ("KillMode", "control-group", "lab has KillMode=process"),
        ("User", "", "lab runs as its own user"),
        ("ExecStart", "path=/usr/bin/lab ; argv[]=lab ; ", "lab runs from the store"),
        ("ActiveState", "failed", "lab is healthy after onboarding"),
    ],
)
def test_labs_unit(key: str, value: str, name: str) -> None:
    """Each property of the unit has a check."""
    assert failed(host.lab_unit(LAB, "lab")) == set()
    changed = replace(LAB, properties={**LAB.properties, key: value})
    assert failed(host.lab_unit(changed, "lab")) == {name}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, set()),
        ({"restarted": True}, {"a pull survives the switch that it runs"}),
        ({"result": "exit-code"}, {"a pull survives the switch that it runs"}),
    ],
)
def test_a_pull_that_deploys(change: dict[str, Any], names: set[str]) -> None:
    """It ends as a success, once, and what it pulled runs."""
    now = pulls.Pulled(replace(PULL, **change), STATE, "1", (), "1")
    assert failed(pulls.deploys(now, "1")) == names
    other = replace(now, system=replace(STATE, current=None, profile=None))
    expected = "the pulled system runs and is the next to boot"
    assert expected in failed(pulls.deploys(other, "1"))


def test_a_pull_of_a_bad_configuration() -> None:
    """A bento that hides the failure or does not try again fails."""
    unit = "bento-upgrade.service"
    bad = pulls.Pulled(replace(PULL, result="exit-code"), STATE, "0", (unit,), "0")
    assert failed(pulls.fails_on_bad_configuration("it", bad, "bad", unit)) == set()
    hidden = replace(bad, pull=NO_NEWS, applied="bad", failed=())
    assert failed(pulls.fails_on_bad_configuration("it", hidden, "bad", unit)) == {
        "a configuration that cannot be built is tried again",
        "a failed pull does not count as applied",
        "a pull that deploys nothing fails its unit",
        "a pull that deploys nothing is among the failed units",
    }
    after = replace(STATE, profile=OTHER)
    assert not pulls.leaves_system("it", STATE, after).held


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"mode": "644"}, "only owner and group can read the secret"),
        ({"owner": "root"}, "the secret belongs to its owner"),
        ({"digest": "e" * 64}, "the secret has the value that was sealed"),
    ],
)
def test_a_decrypted_secret(change: dict[str, Any], name: str) -> None:
    """Its value, owner and mode each have a check."""
    healthy = secrets.Deployed(REBUILT, SECRETS, "i1", "d" * 64)
    assert failed(secrets.protects("it", healthy, "d" * 64, "lab")) == set()
    files = {secrets.NAME: replace(SECRETS.files[secrets.NAME], **change)}
    changed = replace(healthy, state=replace(SECRETS, files=files))
    assert failed(secrets.protects("it", changed, "d" * 64, "lab")) == {name}


def test_secrets_in_store_and_memory() -> None:
    """Plain text in the store fails, and so does a search that found nothing."""
    for plain, sealed in ((True, True), (False, False)):
        search = StoreSearch(plain=plain, sealed=sealed)
        assert not secrets.store_has_no_plain_text(search).held
    assert secrets.store_has_no_plain_text(StoreSearch(False, True)).held
    assert not secrets.in_memory("it", replace(SECRETS, fstype="ext4")).held


def test_lab_without_its_key() -> None:
    """A key that lab made itself fails, and a lab that runs without one."""
    aside = replace(SECRETS, files={"lab-master-key.aside": KEY})
    assert failed(secrets.needs_master_key(aside, 0, "failed")) == set()
    assert failed(secrets.needs_master_key(SECRETS, 200, "active")) == {
        "lab makes no master key of its own",
        "lab does not run without its master key",
    }


def test_the_vm_is_the_specs() -> None:
    """The observations above are about the machine that the spec migrates."""
    assert isinstance(VM, Vm)
    assert FLEET.migration is not None
    assert FLEET.migration.vm == "dev"
