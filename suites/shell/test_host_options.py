"""`shell-options`, the half that shows on the host or over two boots."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import pytest

from harness import (
    Budgets,
    CloudInit,
    Fleet,
    Machine,
    MachineFactory,
    NotExercised,
    Recorder,
    Site,
    Vm,
    describe,
    tick,
)
from suites.shell.checks import options as checks
from suites.shell.pair import consumers, first_of

pytestmark = [
    pytest.mark.criterion("shell-options"),
    pytest.mark.stage("cloud"),
    pytest.mark.disruptive,
]

# Long enough for the scheduler to have given every thread hundreds of turns.
_CONTENTION_S = 12
# Of that time each one must have run or waited to; less, and it did not want it all.
_WANTED = 0.9
_UNUSUAL_MTU = 1432
_USER_DATA = """\
#cloud-config
write_files:
  - path: /etc/acceptance-user-data
    content: applied
bootcmd:
  - [sh, -c, "echo booted >>/root/each-boot"]
runcmd:
  - [sh, -c, "echo ran >>/root/first-boot"]
"""


@pytest.mark.scenario("autostart")
@pytest.mark.needs("vms")
def test_autostart(
    machine_factory: MachineFactory, site: Site, check: Recorder, fleet: Fleet
) -> None:
    """`autostart`: what has it comes up with the site, what has it not stays down."""
    name = consumers(fleet)[1]
    asleep = fleet.vms[name].model_copy(update={"autostart": False})
    others = {n: v.model_copy(update={"autostart": True}) for n, v in _others(fleet)}
    chosen = fleet.model_copy(update={"vms": {**others, name: asleep}})
    started = [machine_factory(vm=n) for n in chosen.autostarted]
    for machine in started:
        check(checks.autostarts(_presence(machine.vm, machine.tap, site)))
    check(checks.stays_down(_presence(asleep, asleep.tap, site)))
    late = machine_factory(vm=name)
    owners = site.client.arping(asleep.ip, window=1.0)
    check(checks.starts_by_hand(late.vm, owners))


def _presence(vm: Vm, tap: str, site: Site) -> checks.Presence:
    """Ask the LAN for a VM's address, and the host for its tap."""
    owners = site.client.arping(vm.ip, window=1.0)
    return checks.Presence(vm, owners, tap, site.taps(), site.ports())


def _others(fleet: Fleet) -> list[tuple[str, Vm]]:
    absent = consumers(fleet)[1]
    return [(name, vm) for name, vm in fleet.vms.items() if name != absent]


@pytest.mark.scenario("cpuWeight")
@pytest.mark.needs("vms")
def test_cpu_weight(
    machine_factory: MachineFactory, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """`cpuWeight`: two VMs that both want all of one CPU get it by their weights.

    Once with the spec's weights, once with the heavier one made the lighter by far, so
    that no habit of either machine can look like the weight.
    """
    pair = [machine_factory(vm=name) for name in consumers(fleet)]
    for machine in pair:
        _keep_busy(machine)
    own = [machine.vm.cpu_weight or 100 for machine in pair]
    other = [400, 100] if own[0] <= own[1] else [100, 400]
    for weights in (own, other):
        used = _contend(pair, weights)
        seconds = {m.name: s for m, s in zip(pair, used, strict=True)}
        check(checks.shares_cpu(seconds, weights, budgets))


def _keep_busy(machine: Machine) -> None:
    """Have every virtual processor loop."""
    for number in range(machine.vm.vcpu):
        machine.succeed(
            *("systemd-run", f"--unit=busy-{number}", "--collect"),
            *("sh", "-c", "while :; do :; done"),
        )


def _contend(pair: Sequence[Machine], weights: Sequence[int]) -> list[float]:
    """Let both contend for one CPU; return the CPU time that each one got."""
    cpu = max(os.sched_getaffinity(0))
    with ExitStack() as stack:
        for machine, weight in zip(pair, weights, strict=True):
            as_spec = weight == (machine.vm.cpu_weight or 100)
            stack.enter_context(machine.cpu.weighed(None if as_spec else weight))
            stack.enter_context(machine.cpu.pinned(cpu))
        tick(time.monotonic(), 1.0, 1)  # the first turns are the scheduler's to settle
        before = [(machine.cpu.seconds, machine.cpu.waited) for machine in pair]
        tick(time.monotonic(), _CONTENTION_S, 1)
        after = [(machine.cpu.seconds, machine.cpu.waited) for machine in pair]
    used = [now[0] - then[0] for then, now in zip(before, after, strict=True)]
    waited = [now[1] - then[1] for then, now in zip(before, after, strict=True)]
    wanted = [ran + stood for ran, stood in zip(used, waited, strict=True)]
    if min(wanted) < _WANTED * _CONTENTION_S or not all(used) or not all(waited):
        raise NotExercised(
            f"two machines to contend for CPU {cpu} for {_CONTENTION_S} s",
            seen=f"they ran for {describe(used, 's')} and waited for "
            f"{describe(waited, 's')}",
        )
    return used


@pytest.mark.scenario("two-boots")
def test_cloud_init_over_two_boots(
    machine_factory: MachineFactory, check: Recorder, fleet: Fleet
) -> None:
    """`cloudInit`: the user's own data is applied, once; the same instance stays."""
    name = first_of(fleet)
    vm = fleet.vms[name]
    given = CloudInit(user_data=_USER_DATA, network_config=_network_config(vm, fleet))
    machine = machine_factory(vm=name, cloud_init=given)
    check(checks.given_applied("first boot", _given(machine), _UNUSUAL_MTU, vm))
    before = _instance(machine)
    machine.shutdown()
    machine.start()
    machine.execute("cloud-init", "status", "--wait", timeout=300)
    after = _instance(machine)
    _must_have_booted(before, after)
    check(checks.second_boot(before, after))
    machine.wait_for_open_port(22)
    check(checks.given_applied("second boot", _given(machine), _UNUSUAL_MTU, vm))


def _must_have_booted(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Raise NotExercised where the guest or cloud-init did not start again."""
    if after["boot id"] == before["boot id"]:
        raise NotExercised(
            "the machine to boot a second time",
            seen=f"its boot ID is still {after['boot id']}",
        )
    if after["bootcmd"] == before["bootcmd"]:
        raise NotExercised(
            "cloud-init to read its data at the second boot",
            seen=f"bootcmd ran {after['bootcmd']} times",
        )


def _network_config(vm: Vm, fleet: Fleet) -> str:
    """Write what only the NIC with the VM's MAC may take, and a decoy."""
    network = fleet.network
    prefix = network.subnet.prefixlen
    ours = {
        "match": {"macaddress": vm.mac},
        "mtu": _UNUSUAL_MTU,
        "addresses": [f"{vm.ip}/{prefix}"],
        "routes": [{"to": "0.0.0.0/0", "via": str(network.gateway)}],
        "nameservers": {"addresses": [str(network.gateway)]},
    }
    decoy = {
        "match": {"macaddress": "52:54:00:de:c0:01"},
        "optional": True,
        "addresses": ["192.0.2.7/24"],
    }
    return json.dumps({"version": 2, "ethernets": {"decoy": decoy, "ours": ours}})


def _given(machine: Machine) -> checks.Given:
    """Look at what cloud-init made of the user's own data."""
    return checks.Given(
        user_data=machine.execute("cat", "/etc/acceptance-user-data").output,
        mtus=machine.sh("cat /sys/class/net/e*/mtu").stdout.split(),
        addresses=machine.network.addresses(),
    )


def _instance(machine: Machine) -> Mapping[str, str]:
    """Read what a first boot makes and a second leaves alone."""
    script = {
        "boot id": "cat /proc/sys/kernel/random/boot_id",
        "bootcmd": "grep -c . /root/each-boot",
        "runcmd": "grep -c . /root/first-boot",
        "instance-id": "cat /var/lib/cloud/data/instance-id",
        "ssh host keys": "cat /etc/ssh/ssh_host_*_key.pub | sha256sum",
        "machine-id": "cat /etc/machine-id",
    }
    said = machine.sh("; ".join(f"echo $({line})" for line in script.values()))
    return dict(zip(script, said.check().stdout.splitlines(), strict=True))
