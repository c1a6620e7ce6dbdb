"""`shell-options`, the half that a guest can see: each option is real in there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness import Budgets, Machine, Recorder

pytestmark = [pytest.mark.criterion("shell-options"), pytest.mark.stage("cloud")]


@pytest.mark.scenario("mem", "vcpu")
def test_memory_and_cpus(dev: Machine, check: Recorder, budgets: Budgets) -> None:
    """`mem` and `vcpu` are what the guest has."""
    total = dev.system.memory_mib()
    check.check(
        "mem",
        dev.vm.mem - budgets.memory_kept_mib <= total <= dev.vm.mem,
        f"guest sees {total} MiB, the spec has {dev.vm.mem} MiB",
    )
    online = dev.read_file("/sys/devices/system/cpu/online").strip()
    expected = "0" if dev.vm.vcpu == 1 else f"0-{dev.vm.vcpu - 1}"
    check.check(
        "vcpu", online == expected, f"online are {online}, the spec has {dev.vm.vcpu}"
    )


@pytest.mark.scenario("mac", "ip")
def test_network(dev: Machine, check: Recorder) -> None:
    """`mac` and `ip` are on the one NIC, by the seed's network-config."""
    state = dev.network.state()
    macs = [link.mac for link in state.nics]
    check.check("mac", macs == [dev.vm.mac], f"NICs {macs}, the spec has {dev.vm.mac}")
    check.check(
        "ip",
        state.addresses == (dev.vm.ip,),
        f"addresses {state.addresses}, the spec has {dev.vm.ip}",
    )
    dev.wait_for_open_port(22)


@pytest.mark.scenario("disk")
def test_disk(dev: Machine, check: Recorder, budgets: Budgets) -> None:
    """`diskSizeG` is the disk, and the root file system has grown into it."""
    sectors = int(dev.read_file("/sys/block/vda/size"))
    size = sectors * 512 // 2**20
    check.check(
        "diskSizeG",
        size == dev.vm.disk_size_g * 1024,
        f"disk of {size} MiB, the spec has {dev.vm.disk_size_g} GiB",
    )
    root = dev.inodes.sample("/")["/"]
    grown = root.size_bytes // 2**20
    check.check(
        "the root file system is grown",
        grown >= size * budgets.disk_root_share - budgets.disk_overhead_mib,
        f"root file system of {grown} MiB on a disk of {size} MiB",
    )
    check.check(
        "its inodes grew with it",
        root.bytes_per_inode <= budgets.bytes_per_inode_max,
        f"one inode per {root.bytes_per_inode:.0f} bytes",
    )


@pytest.mark.scenario("cloudInit")
def test_cloud_init(dev: Machine, check: Recorder) -> None:
    """`cloudInit`: the seed was found and applied to the end."""
    status = dev.execute("cloud-init", "status", "--long")
    check.check(
        "cloud-init is done",
        "status: done" in status.stdout,
        f"exit status {status.rc}: {status.output[-500:]}",
    )
    check.check(
        "the seed is the data source",
        "NoCloud" in status.stdout,
        status.stdout[-300:],
    )
    check.check(
        "the host name is the VM's",
        dev.testinfra.check_output("hostname") == dev.name,
        dev.testinfra.check_output("hostname"),
    )
