"""What decides `shell-options`: each option as the guest, QEMU and the host have it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from harness import (
    Budgets,
    Check,
    CommandLine,
    CommandResult,
    InodeSample,
    Quantity,
    Units,
    Vm,
    absent,
    at_least,
    at_most,
    contains,
    one_of,
)

# What a first boot makes and a second leaves alone, and the check that holds it.
_ONCE = "first-boot modules do not run again"
_STAYS = ("instance-id", "ssh host keys", "machine-id")


def memory(total_mib: int, vm: Vm, budgets: Budgets) -> Iterator[Check]:
    """Check that the guest has `mem`, less what firmware and kernel keep."""
    yield Check(
        "the guest has the memory that mem says",
        Quantity(vm.mem - total_mib, "MiB"),
        at_most(budgets.memory_kept_mib),
        of="memory kept by firmware and kernel",
        guest_has=Quantity(total_mib, "MiB"),
        spec_has=Quantity(vm.mem, "MiB"),
    )
    yield Check(
        "the guest has no more memory than mem says",
        Quantity(total_mib, "MiB"),
        at_most(Quantity(vm.mem, "MiB")),
        of="memory",
    )


def processors(online: str, vm: Vm) -> Check:
    """Check that the guest has `vcpu` processors, by the kernel's list."""
    expected = "0" if vm.vcpu == 1 else f"0-{vm.vcpu - 1}"
    name = "the guest has the processors that vcpu says"
    return Check(name, online, expected, of="online processors", vcpu=vm.vcpu)


def network(
    macs: Sequence[str], addresses: Sequence[IPv4Address], vm: Vm
) -> Iterator[Check]:
    """Check that the guest has one NIC with `mac`, and `ip` on it."""
    yield Check("the guest has one NIC, with mac", macs, [vm.mac], of="MACs of NICs")
    yield Check("the guest has one address, ip", addresses, [vm.ip], of="addresses")


def disk(size_mib: int, root: InodeSample, vm: Vm, budgets: Budgets) -> Iterator[Check]:
    """Check that the disk has `diskSizeG`, and that the root file system fills it."""
    yield Check(
        "the disk has the size that diskSizeG says",
        Quantity(size_mib, "MiB"),
        Quantity(vm.disk_size_g * 1024, "MiB"),
    )
    least = size_mib * budgets.disk_root_share - budgets.disk_overhead_mib
    yield Check(
        "the root file system is grown into the disk",
        Quantity(root.size_bytes // 2**20, "MiB"),
        at_least(Quantity(least, "MiB")),
        disk=Quantity(size_mib, "MiB"),
        disk_root_share=Quantity(budgets.disk_root_share, "share"),
        disk_overhead=Quantity(budgets.disk_overhead_mib, "MiB"),
    )
    yield Check(
        "the root file system's inodes grow with it",
        Quantity(root.bytes_per_inode, "bytes"),
        at_most(budgets.bytes_per_inode_max),
        of="bytes per inode",
    )


def seed_applied(status: CommandResult, host_name: str, name: str) -> Iterator[Check]:
    """Check, by `cloud-init status --long`, that the seed was applied."""
    yield Check(
        "cloud-init is done",
        status.stdout,
        contains("status: done"),
        of="status",
        exit_status=status.rc,
    )
    yield Check(
        "cloud-init's data source is the seed",
        status.stdout,
        contains("NoCloud"),
        of="status",
    )
    yield Check("the host name is the VM's", host_name, name, of="host name")


@dataclass(frozen=True, slots=True)
class Given:
    """What a guest has of the user's own cloud-init data."""

    user_data: str
    mtus: Sequence[str]
    addresses: Sequence[IPv4Address]


def given_applied(during: str, given: Given, mtu: int, vm: Vm) -> Iterator[Check]:
    """Check that the user's own data is applied: a file, an MTU, a match by MAC."""
    yield Check(
        "user-data is applied",
        given.user_data,
        "applied",
        of="content of its file",
        during=during,
    )
    yield Check(
        "network-config is applied",
        given.mtus,
        [str(mtu)],
        of="MTUs of the NICs",
        during=during,
    )
    yield Check(
        "network-config is matched by MAC",
        given.addresses,
        [vm.ip],
        of="addresses",
        during=during,
        MAC=vm.mac,
    )


def second_boot(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Check]:
    """Check that a second boot is one of the same instance."""
    during = "the second boot"
    yield Check(
        _ONCE, after["runcmd"], before["runcmd"], of="runs of runcmd", during=during
    )
    for key in _STAYS:
        yield Check(
            f"the second boot keeps {key}",
            after[key],
            before[key],
            of=key,
            during=during,
        )


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether a VM is there: the MACs that answer for its address, its tap."""

    vm: Vm
    owners: Collection[str]
    tap: str
    taps: Sequence[str]
    ports: Collection[str]

    @property
    def seen(self) -> dict[str, object]:
        """The facts that decide."""
        bridged = self.tap in self.taps and self.tap in self.ports
        return {"MACs that answer": self.owners, "tap on the bridge": bridged}


def autostarts(there: Presence) -> Check:
    """Check that a VM with `autostart` is up after the site's start."""
    return Check(
        "a VM with autostart starts with the site",
        there.seen,
        {"MACs that answer": [there.vm.mac], "tap on the bridge": True},
        of=there.vm.name,
        taps=there.taps,
    )


def stays_down(there: Presence) -> Check:
    """Check that a VM without `autostart` has neither an answer nor a tap."""
    return Check(
        "a VM without autostart stays down",
        {"MACs that answer": there.owners, "tap": there.tap in there.taps},
        {"MACs that answer": [], "tap": False},
        of=there.vm.name,
        taps=there.taps,
    )


def starts_by_hand(vm: Vm, owners: Collection[str]) -> Check:
    """Check that a VM without `autostart` has its address once it is started."""
    name = "a VM without autostart can be started"
    return Check(name, owners, [vm.mac], of=f"MACs that answer for {vm.ip}")


def shares_cpu(
    seconds: Mapping[str, float], weights: Sequence[int], budgets: Budgets
) -> Check:
    """Check that two VMs that contend, by name, get CPU time by their weights."""
    one, other = seconds.values()
    ratio, expected = one / other, weights[0] / weights[1]
    return Check(
        "the CPU share follows cpuWeight",
        Quantity(abs(ratio / expected - 1), "share"),
        at_most(budgets.cpu_share_error),
        of="error of the ratio",
        CPU_time={name: Quantity(used, "s") for name, used in seconds.items()},
        weights=weights,
        ratio_of_CPU_time=ratio,
        ratio_of_weights=expected,
    )


def command_line(
    asked: CommandLine, vm: Vm, ports: Collection[str], lent: Sequence[object]
) -> Iterator[Check]:
    """Check QEMU's command line against the spec, and for what bypasses the disk.

    `lent` are the files of its disk that are the host's store's.
    """
    yield Check(
        "QEMU is asked for mem", Quantity(asked.mem, "MiB"), Quantity(vm.mem, "MiB")
    )
    yield Check("QEMU is asked for vcpu", asked.vcpu, vm.vcpu, of="processors")
    macs = [mac.lower() for mac in asked.macs]
    yield Check("QEMU is asked for the MAC", macs, [vm.mac], of="MACs")
    yield Check(
        "QEMU has one tap, which is on the bridge",
        {
            "taps": len(asked.taps),
            "not on the bridge": sorted({*asked.taps} - {*ports}),
        },
        {"taps": 1, "not on the bridge": []},
        taps=asked.taps,
    )
    yield Check("QEMU is given no kernel", asked.direct, absent(), of="options")
    yield Check(
        "QEMU has a disk and a seed",
        len(asked.files),
        2,
        of="number of files",
        files=asked.files,
    )
    # An overlay would need files that the host's garbage collection may delete.
    yield Check(
        "the disk needs no file of the host's store",
        lent,
        absent(),
        of="files in the store",
    )


def unit(units: Units, vm: Vm, budgets: Budgets) -> Iterator[Check]:
    """Check of adopted units what no guest can see: autostart, weight, stop time."""
    main = units.main
    yield Check(
        "the unit starts with the host as autostart says",
        main.autostart,
        vm.autostart,
        of="autostart",
        unit=main.name,
        wanted_by=main.wanted_by,
    )
    yield Check(
        "units that the unit pulls in are ordered before it",
        units.unordered,
        absent(),
        of="units without an order",
        unit=main.name,
    )
    # 100 is systemd's own default.
    weights = (None, 100) if vm.cpu_weight is None else (vm.cpu_weight,)
    yield Check(
        "the unit has the spec's CPU weight",
        main.weight,
        one_of(*weights),
        of="CPUWeight",
    )
    yield Check(
        "the unit gives the guest time to stop",
        Quantity(main.stop_timeout, "s"),
        at_least(budgets.unit_stop_s),
        of="TimeoutStopSec",
    )
    # restartIfChanged = false puts X-RestartIfChanged=false into [Service].
    yield Check(
        "a deploy of the host does not restart the unit",
        units.restarted_by_a_deploy,
        absent(),
        of="units whose change stops it",
        unit=main.name,
    )
