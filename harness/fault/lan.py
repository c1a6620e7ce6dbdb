"""More ways in which the LAN misleads: caches, sizes, keys, and the way back."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from typing_extensions import override

from harness.deadline import Deadline, poll, tick
from harness.fault.base import must_fail
from harness.fault.means import OUTPUT, nft, run
from harness.fault.network import LanFault, network_file
from harness.shell import AlteredShell
from harness.site.dnsmasq import PORT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from harness.machine import Machine
    from harness.shell import Shell
    from harness.site import LanHost, Site

CRITERION = "swap-keeps-address"
ROLLBACK = "swap-rollback"
# What the large ping and lab's long page both exceed, and nothing else does.
_HOLE = 1400
# For an emulated guest to end, whatever else runs on this computer.
_STOP_S = 180.0
_OLD_IPV6 = "2001:db8:97::15"


class NegativeCache(LanFault):
    """Dnsmasq forwards the name, and still remembers that there was none."""

    name = "dnsmasq-negative-cache"
    source = "dnsmasq(8), --neg-ttl"

    @contextmanager
    def alter_network(self, site: Site) -> Iterator[None]:
        """Move the record to a server behind dnsmasq, and ask before it is there."""
        name = self.name_of(self.move.final, site)
        with site.lan_host("resolver", site.network.gateway + 201) as resolver:
            with _dnsmasq(site, resolver):
                site.dns.options += [f"server=/{name}/{resolver.ip}", "neg-ttl=3600"]
                site.dns.remove(name)
                site.dns.query(name)
            with _dnsmasq(site, resolver, f"host-record={name},{self.move.final}"):
                yield


class LeasedName(LanFault):
    """A DHCP lease of the same host name wins over dnsmasq's address= line."""

    name = "lease-named-dev"
    source = "dnsmasq(8), --address (hosts and leases override it for single names)"

    def alter_network(self, site: Site) -> AbstractContextManager[object]:
        """Serve the name by address=, and DHCP with one lease, as its file keeps it."""
        name = self.name_of(self.move.final, site)
        host, _, domain = name.partition(".")
        leases = site.directory / "dnsmasq.leases"
        # Expiry, MAC, address, host name, client id; 0 never expires.
        mac = "02:00:00:00:00:98"
        leases.write_text(f"0 {mac} {self.move.temporary} {host} *\n")
        first, last = site.network.gateway + 220, site.network.gateway + 229
        site.dns.options += [
            f"address=/{name}/{self.move.final}",
            f"domain={domain}",
            f"dhcp-range={first},{last},1h",
            f"dhcp-leasefile={leases}",
        ]
        site.dns.remove(name)
        return super().alter_network(site)


class SixthFromUpstream(LanFault):
    """Dnsmasq forwards the question for AAAA, and upstream knows an old address."""

    name = "dns-ipv6-from-upstream"
    source = "dnsmasq(8), --host-record (a type without a record is forwarded)"
    expects = must_fail(CRITERION, "DNS has no IPv6 address for the name")

    @contextmanager
    def alter_network(self, site: Site) -> Iterator[None]:
        """Have a server behind dnsmasq that knows one."""
        name = self.name_of(self.move.final, site)
        with (
            site.lan_host("resolver", site.network.gateway + 201) as resolver,
            _dnsmasq(site, resolver, f"host-record={name},{_OLD_IPV6}"),
        ):
            site.dns.options.append(f"server=/{name}/{resolver.ip}")
            site.dns.restart()
            yield


class BlackHole(LanFault):
    """Packets of full size from dev are dropped without an ICMP error."""

    name = "mtu-black-hole"
    source = "RFC 2923, 2.1 (path MTU black holes)"
    expects = must_fail(
        CRITERION,
        "packets of full size are answered",
        "a response larger than one packet arrives",
    )

    def inject(self, machine: Machine) -> None:
        """Drop them as they leave, from the next boot on too."""
        rules = (
            "table inet hole {\n  chain out {\n"
            "    type filter hook output priority 0;\n"
            f"    oifname != lo meta length > {_HOLE} drop\n  }}\n}}\n"
        )
        machine.write_file("/etc/hole.nft", rules)
        directory = "/etc/systemd/system.control/nftables.service.d"
        run(machine, f"mkdir -p {directory}")
        load = "/usr/sbin/nft -f /etc/hole.nft"
        text = f"[Service]\nExecStartPost={load}\n"
        machine.write_file(f"{directory}/fault.conf", text)
        run(machine, f"systemctl daemon-reload\n{load}\nsync")


class NewHostKey(LanFault):
    """Dev generates another ssh host key at the next boot.

    Where lab needs one of those secrets it does not come back, which shows first.
    """

    name = "ssh-host-key-changes"
    source = "nixos-infect#50, #107; srvos#148 (age key changed, secrets lost)"
    expects = must_fail(
        CRITERION, "the ssh host key is unchanged", "lab answers on the final address"
    )

    def inject(self, machine: Machine) -> None:
        """Remove it: sshd makes another before it starts."""
        run(machine, "rm /etc/ssh/ssh_host_*\nsync")


class Unannounced(LanFault):
    """Dev sends no gratuitous ARP, and the client has a static neighbour entry."""

    name = "unannounced-to-a-static-neighbour"
    source = "vmware/vic#2932, #3437; resource-agents#124"
    scenario = "swap"
    expects = must_fail(CRITERION, "ssh answers on the final address")
    machines = frozenset({"old", "dev"})

    def inject(self, machine: Machine) -> None:
        """Pin the old VM's MAC, and silence dev's announcements."""
        if machine.vm.ip == self.move.final:
            machine.site.client.pin_neighbour(self.move.final, machine.vm.mac)
            return
        final = self.move.final
        silence = f"arp saddr ip {final} arp daddr ip {final} drop"
        run(machine, nft("arp", OUTPUT, silence))


class Rollback(LanFault):
    """A fault of the reverse swap: slow, or incomplete."""

    scenario = "reverse-swap"
    expects = must_fail(ROLLBACK, "the outage of ssh is within budget")
    # One test judges both: a way back that fails is a swap that fails.
    explained = MappingProxyType({CRITERION: "the reverse swap is a swap, too"})


class ColdRollback(Rollback):
    """The old VM has to boot before it takes its address back."""

    name = "rollback-boots-the-old-vm"
    source = "the plan's PR3 (the old VM is stopped, its unit removed)"
    machines = frozenset({"old"})

    def inject(self, machine: Machine) -> None:
        """Have its web server start at the next boot."""
        serve = f"python3 -m http.server {machine.lab.port} -d /srv"
        unit = f"[Service]\nExecStart=/usr/bin/env {serve}\n"
        install = "[Install]\nWantedBy=multi-user.target\n"
        machine.write_file("/etc/systemd/system/cold-lab.service", unit + install)
        run(machine, "systemctl enable --quiet cold-lab\nsync")

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Have it boot instead of plugging its cable in, and not fast."""
        _ = site
        return _Cold(shell, self.budget_s + 5)

    @property
    def budget_s(self) -> float:
        """How long going back may take."""
        return self._fleet.budgets.swap_rollback_s if self._fleet else 0.0


class _Cold(AlteredShell):
    def __init__(self, inner: Shell, down_s: float) -> None:
        super().__init__(inner)
        self._down_s = down_s

    @override
    def set_link(self, *, up: bool) -> None:
        if not up:
            super().set_link(up=False)
            return
        began = time.monotonic()
        self.stop(Deadline.after(_STOP_S, "the old VM to shut down"))
        tick(began, self._down_s, 1)
        self.start(Deadline.after(_STOP_S, "the old VM's QEMU"))


class RollbackUnseen(Rollback):
    """The client has a static neighbour entry: dev's MAC for the final address."""

    name = "rollback-to-a-static-neighbour"
    source = "vmware/vic#2932, #3437; resource-agents#124"
    expects = must_fail(ROLLBACK, "ssh answers on the final address")

    def inject(self, machine: Machine) -> None:
        """Pin dev's MAC."""
        machine.site.client.pin_neighbour(self.move.final, machine.vm.mac)


class RollbackHalf(Rollback):
    """Dev keeps the final address when the old VM takes it back."""

    name = "rollback-leaves-dev-its-address"
    source = "nixpkgs#25455, #315152 (addresses left after a live change)"
    expects = must_fail(ROLLBACK, "only its owner answers for the final address")

    def inject(self, machine: Machine) -> None:
        """Give it a network file that has both addresses."""
        both = (self.move.temporary, self.move.final)
        network_file(machine, *both, gateway=machine.site.network.gateway)


class RollbackRenamed(Rollback):
    """Going back moves the name to dev's temporary address, away from the old VM."""

    name = "rollback-takes-the-name-along"
    source = "the plan's PR3 (the record has to follow the address)"
    expects = must_fail(ROLLBACK, "every DNS answer is the final address")
    machines = frozenset({"old"})

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Change the record as the old VM's cable is plugged in."""
        name = self.name_of(self.move.final, site)
        return _Renames(shell, partial(site.dns.set, name, self.move.temporary))


class _Renames(AlteredShell):
    def __init__(self, inner: Shell, rename: Callable[[], None]) -> None:
        super().__init__(inner)
        self._rename = rename

    @override
    def set_link(self, *, up: bool) -> None:
        super().set_link(up=up)
        if up:
            self._rename()


class RollbackFiltered(Rollback):
    """The host lets dev send from its final address only, also after going back."""

    name = "rollback-loses-dev"
    source = "libvirt formatnwfilter (no-ip-spoofing takes the address from the XML)"
    expects = must_fail(ROLLBACK, "only dev answers for its temporary address")

    def inject(self, machine: Machine) -> None:
        """Drop what it says of its temporary address."""
        run(machine, nft("arp", OUTPUT, f"arp saddr ip {self.move.temporary} drop"))


@contextmanager
def _dnsmasq(site: Site, host: LanHost, *lines: str) -> Iterator[None]:
    """Run another dnsmasq on a host of the LAN, that knows these records alone."""
    options = ["no-resolv", "no-hosts", "local=/#/", "bind-interfaces", "pid-file="]
    config = site.directory / f"{host.name}.conf"
    text = "\n".join([*options, f"listen-address={host.ip}", *lines])
    config.write_text(f"{text}\n", encoding="utf-8")
    binary = ["dnsmasq", "--no-daemon", f"--conf-file={config}"]
    with ExitStack() as stack:
        stack.enter_context(site.sandbox.spawn(binary, host=host.host))
        awaited = Deadline.after(10, "the server behind dnsmasq to listen")
        poll(lambda: site.client.tcp(host.ip, PORT, awaited) or None, awaited)
        yield
