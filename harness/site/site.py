"""The site as suites use it: the LAN, its hosts, its names, its watchers."""

from __future__ import annotations

import itertools
import json
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.deadline import Deadline
from harness.errors import HostError
from harness.site import layout as plans
from harness.site import serving
from harness.site import trace as tracing
from harness.site import watch as watching
from harness.site.dnsmasq import Dns, serve_names
from harness.site.ingress import AUTH, WEB, run_ingress
from harness.site.lan import Eye, LanHost
from harness.site.sandbox import Sandbox, open_capsule

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from contextlib import AbstractContextManager
    from ipaddress import IPv4Address

    from harness.fleet import Endpoint, Ingress, NetworkSpec
    from harness.process import Completed
    from harness.site.ingress import Change, RunningIngress
    from harness.site.trace import Trace
    from harness.site.watch import AddressWatch, DnsWatch

TUN = Path("/dev/net/tun")
_ASK_BUDGET = 5.0


@dataclass(frozen=True)
class Site:
    """A LAN of its own, with `fw` as its gateway; nothing leaves it.

    Files of the site, the watchers' samples among them, lie in `directory`.
    """

    directory: Path
    network: NetworkSpec
    sandbox: Sandbox
    gateway: LanHost
    client: LanHost
    services: dict[str, LanHost]
    dns: Dns
    eye: Eye
    web_changes: list[Change] = field(default_factory=list)
    """What faults make of the web VM's setup, the next time that it is set up."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1000))

    def __repr__(self) -> str:
        return f"<Site: {self.network.subnet}, in {self.directory}>"

    def enter(self, argv: Sequence[str], *, host: str | None = None) -> list[str]:
        """Prefix a command so that it runs on the gateway or a named LAN host."""
        return self.sandbox.enter(argv, host=host)

    def check(self) -> None:
        """Raise SiteDied when the site, or a helper in it, has ended."""
        if died := self.sandbox.death():
            raise died

    def execute(self, argv: Sequence[str], *, deadline: Deadline) -> Completed:
        """Run a command on the gateway to its end."""
        return self.gateway.execute(argv, deadline=deadline)

    @contextmanager
    def tap(self, machine: str) -> Iterator[str]:
        """Give a machine its tap on the bridge for the length of the `with`.

        One that a crash left behind is removed first; this one is always removed.
        Raises HostError when this computer has no usable /dev/net/tun.
        """
        name = plans.tap_name(machine)
        if not os.access(TUN, os.R_OK | os.W_OK):
            raise HostError(
                f"{TUN} is missing or closed to this user",
                hint=f"modprobe tun; chmod 0666 {TUN}; in a container pass it in",
            )
        self.sandbox.script(plans.tap_up_script(name), f"the tap {name}")
        try:
            yield name
        finally:
            self.sandbox.tidy(plans.tap_down_script(name), f"{name} to go")

    @contextmanager
    def lan_host(
        self, name: str, ip: IPv4Address, mac: str | None = None
    ) -> Iterator[LanHost]:
        """Add a host to the LAN for the length of the `with`.

        It may stand in for a machine, or claim an address that another has.
        """
        link = f"lan{next(self._numbers)}"
        station = plans.Station(
            plans.check_name(name), link, ip, mac or plans.mac_of(ip)
        )
        prefix = self.network.subnet.prefixlen
        removal = plans.station_removal_script(station)
        try:
            self.sandbox.script(plans.station_script(station, prefix), f"host {name}")
            yield _lan_host(station, self.sandbox, self.eye)
        finally:
            self.sandbox.tidy(removal, f"host {name} to go")

    @contextmanager
    def serve(self, host: LanHost, port: int) -> Iterator[None]:
        """Run a small web server on a LAN host for the length of the `with`."""
        program = ["serve.py", host.name]
        log = f"serve-{host.name}.log"
        with serving.serve(self.sandbox, host, port, program, log=log):
            yield

    @contextmanager
    def ingress(self, spec: Ingress, upstream: Endpoint) -> Iterator[RunningIngress]:
        """Set up the web VM, which leads to `upstream`, for the length of the `with`.

        Raises HostError where nginx or openssl is missing.
        """
        with (
            self.lan_host(WEB, spec.ip) as web,
            self.lan_host(AUTH, spec.auth.ip) as auth,
            run_ingress(
                spec,
                upstream,
                hosts=(web, auth),
                client=self.client,
                dns=self.dns,
                changes=self.web_changes,
            ) as ingress,
        ):
            yield ingress

    def watch_address(
        self, ip: IPv4Address, *, tcp: Sequence[int] = (22, 8080)
    ) -> AbstractContextManager[AddressWatch]:
        """Sample ping, ARP and TCP of an address from the client, every 50 ms."""
        path = self._path(f"watch-{ip}")
        return watching.watch_address(
            self.sandbox, self.client, self.eye, ip, tcp=tcp, path=path
        )

    def watch_dns(self, name: str) -> AbstractContextManager[DnsWatch]:
        """Sample dnsmasq's answer to the client about a name, every 50 ms."""
        path = self._path(f"watch-{plans.check_name(name)}")
        return watching.watch_dns(
            self.sandbox, self.client, self.gateway.ip, name, path=path
        )

    def ports(self) -> dict[str, str]:
        """List what is on the bridge: interface name → operational state."""
        asked = Deadline.after(_ASK_BUDGET, "the ports of the bridge")
        listed = self.execute(
            ["ip", "-json", "link", "show", "master", plans.BRIDGE], deadline=asked
        ).check()
        links = json.loads(listed.stdout or "[]")
        return {link["ifname"]: link["operstate"] for link in links if link}

    def taps(self) -> list[str]:
        """List the taps in the sandbox, on the bridge or not."""
        asked = Deadline.after(_ASK_BUDGET, "the taps of the site")
        listed = self.execute(
            ["ip", "-json", "link", "show", "type", "tun"], deadline=asked
        ).check()
        links = json.loads(listed.stdout or "[]")
        return sorted(link["ifname"] for link in links if link)

    def trace(self, directory: Path) -> AbstractContextManager[Trace]:
        """Know the traces that a machine has on its host, for the `with`."""
        return tracing.trace(directory)

    def _path(self, stem: str) -> Path:
        return self.directory / f"{stem}-{next(self._numbers)}.jsonl"


@contextmanager
def open_site(
    network: NetworkSpec,
    directory: Path,
    *,
    deadline: Deadline,
    reserved: Collection[IPv4Address] = (),
) -> Iterator[Site]:
    """Hold a site for the length of the `with`; killed, it leaves nothing running.

    `directory` is made if missing and closed to others. `reserved` are addresses of
    machines to come, which the eye stays clear of. Raises HostError when this
    computer does not allow it.
    """
    directory = directory.resolve()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    layout = plans.plan(network, reserved)
    with ExitStack() as stack:
        sandbox = stack.enter_context(
            open_capsule(layout, directory, deadline=deadline)
        )
        stations = {station.name: station for station in layout.stations}
        eye = Eye(sandbox, plans.EYE, layout.eye_ip, stations[plans.EYE].mac)
        hosts = {
            station.ip: _lan_host(station, sandbox, eye)
            for station in layout.stations
            if station.ip is not None
        }
        gateway = _gateway(layout, sandbox, eye)
        hosts[gateway.ip] = gateway
        client = next(host for host in hosts.values() if host.name == plans.CLIENT)
        services = {}
        for name, endpoint in network.services.items():
            services[name] = hosts[endpoint.ip]
            program, log = ["serve.py", name], f"serve-{name}.log"
            stack.enter_context(
                serving.serve(
                    sandbox, hosts[endpoint.ip], endpoint.port, program, log=log
                )
            )
        dns = stack.enter_context(serve_names(sandbox, gateway, client, network.hosts))
        yield Site(directory, network, sandbox, gateway, client, services, dns, eye)


def _gateway(layout: plans.Layout, sandbox: Sandbox, eye: Eye) -> LanHost:
    return LanHost(
        name="fw",
        ip=layout.gateway,
        mac=layout.gateway_mac,
        interface=plans.BRIDGE,
        host=None,
        sandbox=sandbox,
        eye=eye,
    )


def _lan_host(station: plans.Station, sandbox: Sandbox, eye: Eye) -> LanHost:
    if station.ip is None:
        raise ValueError(f"{station.name} has no address")
    return LanHost(
        name=station.name,
        ip=station.ip,
        mac=station.mac,
        interface="eth0",
        host=station.name,
        sandbox=sandbox,
        eye=eye,
    )
