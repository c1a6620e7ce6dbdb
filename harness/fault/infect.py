"""Ways for a conversion to leave a machine that nobody reaches, or another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.fault.base import Fault, must_fail
from harness.fault.means import run

if TYPE_CHECKING:
    from harness.machine import Machine

CRITERION = "onboard-infect"
CONVERSION = ("suites/onboard/test_infect.py::test_conversion_needs_nobody",)
POWER_CUT = ("suites/onboard/test_infect.py::test_power_cut_during_the_conversion",)
_HOME = "/usr/lib/reference/nixos"


class EditedInfect(Fault):
    """The conversion with one edit: a command of sed, on one of its files."""

    tests = CONVERSION
    file = "infect"
    edit = ""

    def wake(self, machine: Machine) -> None:
        """Edit the file, and insist that the edit changed it."""
        path = f"{_HOME}/{self.file}"
        run(
            machine,
            f"cp -p {path} /tmp/before\nsed -i '{self.edit}' {path}\n"
            f"! cmp -s /tmp/before {path}",
        )


class LustrateIgnored(EditedInfect):
    """The mark is there, and this stage 1 does not know it."""

    name = "lustrate-ignored"
    story = "stage 1 ignores NIXOS_LUSTRATE, so the old system stays among the new"
    source = "nixpkgs#357878, #435781; nixos-infect#267"
    expects = must_fail(CRITERION, "the old system was put aside")
    file = "nix/build-support/stage-1.sh"
    edit = "s,etc/NIXOS_LUSTRATE,etc/NIXOS_LUSTRATE.never,"


class EmptyBoot(EditedInfect):
    """A variable that is only set where there is an ESP."""

    name = "empty-boot-file-system"
    story = "on BIOS the conversion has no name for /boot, and ends before the loader"
    source = "nixos-infect#255, #258, #261 (bootFs set under isEFI alone)"
    expects = must_fail(CRITERION, "the conversion succeeds")
    edit = (
        "s,^NIXOS_INSTALL_BOOTLOADER=1,"
        "bootFs=; mv -v $bootFs $bootFs.bak || cp -a $bootFs $bootFs.bak\\n&,"
    )


class NetworkLost(EditedInfect):
    """It boots, and nobody can tell."""

    name = "no-static-network"
    story = "the configuration that the conversion writes has no address"
    source = "nixos-infect#164, #209 (makeNetworkingConf)"
    expects = must_fail(
        CRITERION,
        "the network comes back by itself",
        "networking.nix has the machine's static address",
    )
    edit = "s,interfaces.eth0.ipv4.addresses = .*,interfaces.eth0.useDHCP = true;,"


class EmptyGateway(EditedInfect):
    """Written for a net that it does not have."""

    name = "empty-ipv6-gateway"
    story = "on a net without IPv6 the conversion writes an empty defaultGateway6"
    source = "nixos-infect#25 (makeNetworkingConf on a net without IPv6)"
    expects = must_fail(
        CRITERION, "no empty IPv6 gateway is configured", "the conversion succeeds"
    )
    edit = 's,^    defaultGateway = .*,&\\n    defaultGateway6 = "";,'


class HostKeysLost(EditedInfect):
    """Not on the list of what stays."""

    name = "host-keys-put-aside"
    story = "the ssh host keys go with the old root, and sshd makes new ones"
    source = "nixos-infect#50, #107"
    expects = must_fail(CRITERION, "the machine keeps its host keys")
    edit = "/for key in/,/^done/d"


class WrongDisk(EditedInfect):
    """Right on the machine that it was written on."""

    name = "hardware-of-another-machine"
    story = "hardware-configuration.nix names the disk by a label that is not there"
    source = "nixos-infect#256, #199"
    expects = must_fail(
        CRITERION, "hardware-configuration.nix names the disk's file systems"
    )
    edit = "s,/dev/disk/by-uuid/$(lsblk -no UUID .$boot.),/dev/disk/by-label/ESP,"


class OldRootKept(EditedInfect):
    """The clean-up goes through, and gives nothing back."""

    name = "old-root-has-two-names"
    story = "the old root's files have second names, so the clean-up frees nothing"
    source = "nixpkgs#140385 (lustration keeps files twice)"
    expects = must_fail(
        CRITERION,
        "the clean-up gives the inodes back",
        "the clean-up gives the bytes back",
    )
    file = "nix/build-support/stage-1.sh"
    edit = (
        "s,^  mv .targetRoot/old-root.tmp .targetRoot/old-root$,"
        "  cp -al $targetRoot/old-root.tmp $targetRoot/var/copy; &,"
    )


class NewInstance(Fault):
    """Somebody changed the seed's instance-id between two boots."""

    name = "instance-id-changed"
    story = "the seed has another instance-id at the next boot, cloud-init starts over"
    source = "cloud-init#3753, #2742; srvos#148"
    expects = must_fail(
        CRITERION,
        "the old system keeps its identity",
        "the machine keeps its host keys",
    )
    tests = POWER_CUT

    def wake(self, machine: Machine) -> None:
        """Let cloud-init remember another instance than the seed has."""
        run(
            machine,
            "cd /var/lib/cloud\nrm -rf instance instances/* sem data/*\nsync",
        )
