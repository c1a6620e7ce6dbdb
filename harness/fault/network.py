"""Faults of the address that moves: lost, shared, or another one in DNS."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from harness.errors import MachineError
from harness.fault.base import Fault, must_fail
from harness.fault.means import run
from harness.shell import AlteredShell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from ipaddress import IPv4Address

    from harness.deadline import Deadline
    from harness.fleet import Fleet, Migration
    from harness.machine import Machine
    from harness.shell import Shell
    from harness.site import Site

CRITERION = "swap-keeps-address"

_DNS = frozenset({"every DNS answer is the final address"})
_ONE_OWNER = frozenset({"only its owner answers for the final address"})
# networkd takes the first file by name that matches a link; the generation's is 40-.
_FIRST_FILE = "/etc/systemd/network/10-fault.network"
NO_ONES_MAC = "02:00:00:00:00:99"


class LanFault(Fault):
    """Something on the LAN; remembers the migration that the spec has."""

    scenario = "reboot-and-dnsmasq"
    expects = must_fail(CRITERION, *_DNS)

    def __init__(self) -> None:
        self._fleet: Fleet | None = None

    def alter_spec(self, fleet: Fleet) -> Fleet:
        """Remember the spec; it stays as it is."""
        self._fleet = fleet
        return fleet

    @property
    def move(self) -> Migration:
        """The spec's migration."""
        if self._fleet is None or self._fleet.migration is None:
            raise MachineError(f"fault {self.name} needs a spec with a [migration]")
        return self._fleet.migration

    def name_of(self, address: IPv4Address, site: Site) -> str:
        """Return the DNS name of an address."""
        return next(n for n, ip in site.network.hosts.items() if ip == address)


class WrongRecord(LanFault):
    """DNS still names the temporary address after the swap."""

    name = "dns-still-temporary"
    source = "the plan's PR3 (the record has to follow the address)"
    fast = True

    def alter_network(self, site: Site) -> AbstractContextManager[object]:
        """Serve the temporary address."""
        site.dns.set(self.name_of(self.move.final, site), self.move.temporary)
        return super().alter_network(site)


class TwoRecords(LanFault):
    """DNS has records for the final and the temporary address."""

    name = "dns-round-robin"
    source = "dnsmasq(8), --host-record (two lines of one name give both addresses)"

    def alter_network(self, site: Site) -> AbstractContextManager[object]:
        """Serve both."""
        name = self.name_of(self.move.final, site)
        site.dns.set(name, self.move.final, self.move.temporary)
        return super().alter_network(site)


class LongTtl(LanFault):
    """DNS answers may be kept for an hour."""

    name = "dns-kept-for-an-hour"
    source = "dnsmasq(8), --local-ttl"
    expects = must_fail(CRITERION, "the TTL of a DNS answer is within budget")

    def alter_network(self, site: Site) -> AbstractContextManager[object]:
        """Give all answers a long life."""
        site.dns.options.append("local-ttl=3600")
        site.dns.restart()
        return super().alter_network(site)


class UnsavedChange(LanFault):
    """Dnsmasq's configuration has the wrong address, which shows at its restart."""

    name = "dns-right-until-restart"
    source = "dnsmasq(8), NOTES (SIGHUP does not read the configuration again)"
    expects = must_fail(CRITERION, "dnsmasq gives the final address after its restart")

    def alter_network(self, site: Site) -> AbstractContextManager[object]:
        """Write the wrong record and leave the server as it runs."""
        name = self.name_of(self.move.final, site)
        site.dns.set(name, self.move.temporary, restart=False)
        return super().alter_network(site)


class TwoOwners(LanFault):
    """The old VM was not stopped and answers on the final address as well."""

    name = "two-owners"
    source = "microvm.nix#508, #509"
    expects = must_fail(CRITERION, *_ONE_OWNER)

    @contextmanager
    def alter_network(self, site: Site) -> Iterator[None]:
        """Have a second machine with the address, and with services on it."""
        with ExitStack() as stack:
            claim(stack, site, self.move.final)
            yield


class OldComesBack(LanFault):
    """The old VM is started again as soon as it has been shut down."""

    name = "old-vm-comes-back"
    source = "microvm.nix nixos-modules/host (Restart=always)"
    expects = must_fail(CRITERION, *_ONE_OWNER)
    scenario = "swap"
    machines = frozenset({"old"})

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()

    @contextmanager
    def alter_network(self, site: Site) -> Iterator[None]:
        """End what came back when the LAN goes."""
        _ = site
        with self._stack:
            yield

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Have a stand-in with its MAC take its place after the shutdown."""
        vm = shell.vm
        return _ClaimantReturns(shell, partial(claim, self._stack, site, vm.ip, vm.mac))


class _ClaimantReturns(AlteredShell):
    def __init__(self, inner: Shell, come_back: Callable[[], None]) -> None:
        super().__init__(inner)
        self._come_back = come_back

    @override
    def stop(self, deadline: Deadline) -> None:
        super().stop(deadline)
        self._come_back()


class StillTemporary(LanFault):
    """Dev answers on the final address and on the temporary one as well."""

    name = "temporary-address-stays"
    source = "nixpkgs#25455, #315152 (addresses left after a live change)"
    expects = must_fail(
        CRITERION,
        "no machine answers for the temporary address",
        "dev has the final address and no other",
    )

    def inject(self, machine: Machine) -> None:
        """Give it a network file that has both."""
        both = (self.move.final, self.move.temporary)
        network_file(machine, *both, gateway=machine.site.network.gateway)


class WrongGateway(LanFault):
    """Dev has the right address, and its default route leads to no gateway."""

    name = "wrong-gateway"
    source = "nixpkgs#11176, #198267"
    expects = must_fail(CRITERION, "dev has one default route, to the gateway")

    def inject(self, machine: Machine) -> None:
        """Give it a network file with another gateway."""
        network_file(machine, self.move.final, gateway=machine.site.network.gateway + 1)


class NotPersistent(LanFault):
    """The final address was set by hand and is gone after a reboot."""

    name = "address-gone-after-reboot"
    source = "nixpkgs#315152"
    expects = must_fail(CRITERION, "ssh answers on the final address")

    def inject(self, machine: Machine) -> None:
        """Leave a network file that takes the temporary address at the next boot."""
        gateway = machine.site.network.gateway
        network_file(machine, self.move.temporary, gateway=gateway)


class StaleNeighbour(LanFault):
    """The gateway has a static neighbour entry: the old MAC for the final address."""

    name = "gateway-keeps-old-mac"
    source = "vmware/vic#2932, #3437; resource-agents#124"
    expects = must_fail(CRITERION, "the gateway's neighbour cache converges")

    def alter_network(self, site: Site) -> AbstractContextManager[object]:
        """Pin the gateway's entry."""
        site.gateway.pin_neighbour(self.move.final, NO_ONES_MAC)
        return super().alter_network(site)


class Firewalled(LanFault):
    """Dev's firewall refuses the web host's connections to lab."""

    name = "firewall-closes-lab"
    source = "nixpkgs#417641; seapath/ansible#909"
    expects = must_fail(CRITERION, "lab is served on the final address")

    def inject(self, machine: Machine) -> None:
        """Refuse every service host, from the next boot on too."""
        port = machine.lab.port
        hosts = ", ".join(str(h.ip) for h in machine.site.services.values())
        rule = (
            "/usr/sbin/nft insert rule inet nixos-fw input"
            f" ip saddr {{ {hosts} }} tcp dport {port} reject with tcp reset"
        )
        directory = "/etc/systemd/system.control/nftables.service.d"
        run(machine, f"mkdir -p {directory}")
        text = f"[Service]\nExecStartPost={rule}\n"
        machine.write_file(f"{directory}/fault.conf", text)
        run(machine, f"systemctl daemon-reload\n{rule}\nsync")


def claim(
    stack: ExitStack, site: Site, address: IPv4Address, mac: str | None = None
) -> None:
    """Put a host with ssh's and lab's ports on an address, until the stack ends."""
    claimant = stack.enter_context(site.lan_host("claimant", address, mac))
    for port in (22, 8080):
        stack.enter_context(site.serve(claimant, port))


def network_file(
    machine: Machine, *addresses: IPv4Address, gateway: IPv4Address
) -> None:
    """Leave a file for networkd that wins over the generation's at the next boot."""
    prefix = machine.site.network.subnet.prefixlen
    lines = "".join(f"Address={address}/{prefix}\n" for address in addresses)
    machine.write_file(
        _FIRST_FILE,
        "[Match]\nName=eth0\n\n[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        f"{lines}Gateway={gateway}\n",
    )
    run(machine, "sync")
