"""Observe the address that moves: from a LAN client, the gateway and service hosts."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus

from harness import (
    AddressWatch,
    Deadline,
    DeadlineExpired,
    DnsSample,
    DnsWatch,
    Fleet,
    HttpAnswer,
    LanHost,
    Machine,
    Migration,
    Quantity,
    Recorder,
    Sample,
    Site,
    poll,
)
from suites.network.checks.address import (
    CONNECTED,
    MTU,
    Convergence,
    LargeAnswers,
    PortWait,
)
from suites.network.migration import migration_of, name_of
from suites.network.recovery import time_to

_ANSWER_S = 60.0
# Before a ping's payload come IP's and ICMP's headers.
_IP_AND_ICMP = 28
# A session that starts others with names so long that the page that has them is, too.
_LONG = """
printf -v name 'long-%0300d' 0
for i in 1 2 3 4 5 6; do tmux new-session -d -s "$name$i" cat; done
exec cat
"""


@dataclass(frozen=True)
class SwapWatch:
    """The final address and its name under continuous probes of the LAN client."""

    site: Site
    fleet: Fleet
    move: Migration
    address: AddressWatch
    dns: DnsWatch

    @property
    def probes(self) -> dict[str, str]:
        """The kind of probe of each service whose outage counts."""
        return {"ssh": "tcp:22", "lab": f"tcp:{self.fleet.lab.port}"}

    @property
    def name(self) -> str:
        """The DNS name that must keep pointing at the final address."""
        return name_of(self.fleet, self.move)

    def samples(self) -> list[Sample]:
        """Return the address's samples, of a watcher that missed no second."""
        self.address.require_steady()
        return self.address.samples

    def dns_samples(self) -> list[DnsSample]:
        """Return the name's samples, of a watcher that missed no second."""
        self.dns.require_steady()
        return self.dns.samples

    def await_services(self, machine: Machine) -> list[PortWait]:
        """Wait for ssh and lab on the final address, up to the first without answer."""
        waits: list[PortWait] = []
        for service, probe in self.probes.items():
            waits.append(self._await(machine, service, probe))
            if not waits[-1].answered:
                break
        return waits

    def _await(self, machine: Machine, service: str, probe: str) -> PortWait:
        since = time.monotonic()
        deadline = machine.deadline(_ANSWER_S, f"{probe} on {self.move.final}")
        try:
            self.address.wait_for(probe, ok=True, deadline=deadline)
            last = CONNECTED
        except DeadlineExpired:
            last = self.address.of_kind(probe)[-1].detail
        waited = Quantity(time.monotonic() - since, "s")
        return PortWait(service, probe, waited, last)

    def owners(self) -> set[str]:
        """Ask who has the final address."""
        return self.site.client.arping(self.move.final, window=1.0)

    def temporary_owners(self) -> set[str]:
        """Ask who has the temporary address."""
        return self.site.client.arping(self.move.temporary, window=1.0)

    def converge(self, mac: str, seconds: float) -> list[Convergence]:
        """Wait until client and gateway know that `mac` has the final address."""
        hosts = (self.site.client, self.site.gateway)
        return [self._converge(host, mac, seconds) for host in hosts]

    def _converge(self, host: LanHost, mac: str, seconds: float) -> Convergence:
        # The gateway sends nothing of its own: a request makes it resolve the address.
        host.http(self.move.final, self.fleet.lab.port)

        def look() -> tuple[bool, str | None]:
            entry = host.neighbours().get(str(self.move.final))
            known = entry.mac if entry else None
            return known == mac, known

        after, known = time_to(look, seconds, f"{host.name} to know {mac}")
        return Convergence(host.name, known, after)

    def pages(self) -> dict[str, HttpAnswer]:
        """Fetch lab's page from the client and from every service host."""
        hosts = (self.site.client, *self.site.services.values())
        port = self.fleet.lab.port
        return {host.name: host.http(self.move.final, port) for host in hosts}

    def large_answers(self, machine: Machine) -> LargeAnswers:
        """Send packets of full size, then have lab's page grow beyond one packet."""
        payload = str(MTU - _IP_AND_ICMP)
        ping = ("ping", "-M", "do", "-s", payload, "-c", "3", "-i", "0.2", "-W", "2")
        asked = Deadline.after(20, f"three large pings to {self.move.final}")
        said = self.site.client.execute([*ping, str(self.move.final)], deadline=asked)
        machine.lab.start_session("long", _LONG)
        sizes: list[int] = []

        def look() -> bool | None:
            page = self.site.client.http(self.move.final, self.fleet.lab.port)
            sizes.append(len(page.body) if page.status == HTTPStatus.OK else 0)
            return True if sizes[-1] > MTU else None

        with suppress(DeadlineExpired):
            poll(look, machine.deadline(10, "a long page"), interval=0.5)
        return LargeAnswers(said.rc, said.stdout, tuple(sizes))

    def host_key(self) -> str:
        """Ask for the ssh host key behind the final address, as a client sees it."""
        argv = ["ssh-keyscan", "-T", "20", "-t", "ed25519", str(self.move.final)]
        asked = Deadline.after(60, f"the host key of {self.move.final}")
        return self.site.client.execute(argv, deadline=asked).stdout.strip()

    def draw(self, check: Recorder, title: str, moments: Mapping[str, float]) -> None:
        """Keep the timelines of address and name for the report."""
        origin = self.address.samples[0].at
        marks = {name: at - origin for name, at in moments.items()}
        check.series(
            f"address {self.move.final}, {title}",
            [(s.at - origin, int(s.ok), s.kind) for s in self.address.samples],
            kind="address",
            events=marks,
            origin=origin,
        )
        check.series(
            f"dns {self.name}, {title}",
            [
                (s.at - origin, int(s.addresses == (self.move.final,)), s.rcode)
                for s in self.dns.samples
            ],
            kind="dns",
            events=marks,
            origin=origin,
        )


@contextmanager
def watch_swap(site: Site, fleet: Fleet) -> Iterator[SwapWatch]:
    """Watch the final address and its name from the LAN client, without a pause."""
    move = migration_of(fleet)
    with ExitStack() as stack:
        ports = (22, fleet.lab.port)
        address = stack.enter_context(site.watch_address(move.final, tcp=ports))
        dns = stack.enter_context(site.watch_dns(name_of(fleet, move)))
        yield SwapWatch(site, fleet, move, address, dns)
