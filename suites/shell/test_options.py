"""`shell-options`, the half that a guest can see: each option is real in there."""

import pytest

from harness import Budgets, Machine, Recorder
from suites.shell.checks import options as checks

pytestmark = [pytest.mark.criterion("shell-options"), pytest.mark.stage("cloud")]


@pytest.mark.scenario("mem", "vcpu")
def test_memory_and_cpus(dev: Machine, check: Recorder, budgets: Budgets) -> None:
    """`mem` and `vcpu` are what the guest has."""
    check(checks.memory(dev.system.memory_mib(), dev.vm, budgets))
    online = dev.read_file("/sys/devices/system/cpu/online").strip()
    check(checks.processors(online, dev.vm))


@pytest.mark.scenario("mac", "ip")
def test_network(dev: Machine, check: Recorder) -> None:
    """`mac` and `ip` are on the one NIC, by the seed's network-config."""
    state = dev.network.state()
    macs = [link.mac for link in state.nics]
    check(checks.network(macs, state.addresses, dev.vm))
    dev.wait_for_open_port(22)


@pytest.mark.scenario("disk")
def test_disk(dev: Machine, check: Recorder, budgets: Budgets) -> None:
    """`diskSizeG` is the disk, and the root file system has grown into it."""
    sectors = int(dev.read_file("/sys/block/vda/size"))
    root = dev.inodes.sample("/")["/"]
    check(checks.disk(sectors * 512 // 2**20, root, dev.vm, budgets))


@pytest.mark.scenario("cloudInit")
def test_cloud_init(dev: Machine, check: Recorder) -> None:
    """`cloudInit`: the seed was found and applied to the end."""
    status = dev.execute("cloud-init", "status", "--long")
    host_name = dev.testinfra.check_output("hostname")
    check(checks.seed_applied(status, host_name, dev.name))
