"""What a LAN client, the gateway and a web host see of the address that moves."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from harness import Deadline, DeadlineExpired, NotExercised, poll

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import (
        AddressWatch,
        DnsWatch,
        Fleet,
        Machine,
        Migration,
        Recorder,
        Site,
    )


# The site's links are Ethernet's; before a ping's payload come IP and ICMP headers.
_MTU = 1500
_IP_AND_ICMP = 28
# A session that starts others with names so long that the page that has them is, too.
_LONG = """
printf -v name 'long-%0300d' 0
for i in 1 2 3 4 5 6; do tmux new-session -d -s "$name$i" cat; done
exec cat
"""


@dataclass(frozen=True)
class Swap:
    """The move of one address between two machines, as seen from the LAN."""

    site: Site
    check: Recorder
    fleet: Fleet
    move: Migration
    address: AddressWatch
    dns: DnsWatch

    @property
    def probes(self) -> tuple[str, str]:
        """The two services whose outage is measured."""
        return ("tcp:22", f"tcp:{self.fleet.lab.port}")

    @property
    def name(self) -> str:
        """The DNS name that must keep pointing at the final address."""
        return name_of(self.fleet, self.move)

    def await_service(self, machine: Machine, what: str) -> None:
        """Wait until ssh and lab answer on the final address; judged, not assumed."""
        for probe in self.probes:
            deadline = machine.deadline(60, f"{probe} on {self.move.final} {what}")
            try:
                self.address.wait_for(probe, ok=True, deadline=deadline)
            except DeadlineExpired as error:
                self.check.require(f"{probe} answers {what}", False, error.seen)

    def judge_outage(self, event: str, budget: float) -> None:
        """Hold every service on the final address to the budget of its outage."""
        self.address.require_steady()
        for probe in self.probes:
            outage = self.address.longest_outage(probe)
            self.check.check(
                f"outage of {probe} is within budget",
                outage <= budget,
                f"{event}: {self.move.final} was silent for {outage:.1f} s, "
                f"budget {budget} s",
            )

    def judge_names(self, event: str) -> None:
        """Hold DNS to never having given a wrong answer, nor none."""
        self.dns.require_steady()
        wrong = self.dns.wrong(self.move.final)
        self.check.check(
            "DNS never gives a wrong or missing answer",
            not wrong,
            f"{event}: {len(wrong)} of {len(self.dns.samples)} answers for {self.name}"
            f" are not {self.move.final}, the first: {''.join(map(str, wrong[:1]))}",
        )

    def judge_owner(self, event: str, mac: str, seconds: float) -> None:
        """Hold the LAN to one owner of the final address, known to everybody."""
        final, temporary = self.move.final, self.move.temporary
        owners = self.site.client.arping(final, window=1.0)
        self.check.check(
            "exactly one MAC answers for the final address",
            owners == {mac},
            f"{event}: {sorted(owners)} answer for {final}, expected {mac}",
        )
        squatters = self.site.client.arping(temporary, window=1.0)
        self.check.check(
            "the temporary address answers no more",
            not squatters,
            f"{event}: {sorted(squatters)} still answer for {temporary}",
        )
        for host in (self.site.client, self.site.gateway):
            self._judge_neighbour(event, host.name, mac, seconds)

    def _judge_neighbour(self, event: str, host: str, mac: str, seconds: float) -> None:
        lan_host = self.site.client if host == "client" else self.site.gateway
        # The gateway talks to nobody by itself: let it ask, as dnsmasq's host would.
        lan_host.http(self.move.final, self.fleet.lab.port)
        known: list[str] = []

        def look() -> bool | None:
            entry = lan_host.neighbours().get(str(self.move.final))
            known[:] = [entry.mac if entry else "nobody"]
            return True if known == [mac] else None

        deadline = Deadline.after(seconds, f"{host} to know {mac}")
        try:
            converged = poll(look, deadline)
        except DeadlineExpired:
            converged = False
        self.check.check(
            f"the neighbour cache of {host} converges",
            converged,
            f"{event}: {host} believes that {known[0]} has {self.move.final}, "
            f"expected {mac}, after {seconds} s",
        )

    def judge_ingress(self, event: str, machine: Machine) -> None:
        """Hold the web host's path to lab, and lab's page to naming its sessions."""
        sessions = machine.lab.state().sessions
        for host in (self.site.client, *self.site.services.values()):
            answer = host.http(self.move.final, self.fleet.lab.port)
            missing = [name for name in sessions if name not in answer.body]
            self.check.check(
                "lab is served on the final address",
                answer.status == 200 and sessions and not missing,
                f"{event}: {host.name} got HTTP {answer.status} from "
                f"{self.move.final}, page lacks {missing}: {answer.body[:200]!r}",
            )

    def judge_large(self, event: str, machine: Machine) -> None:
        """Hold the LAN to carrying packets of its full size, there and back.

        Where something on the way drops them silently, every connection comes about
        and every long answer hangs.
        """
        payload = str(_MTU - _IP_AND_ICMP)
        ping = ("ping", "-M", "do", "-s", payload, "-c", "3", "-i", "0.2", "-W", "2")
        asked = Deadline.after(20, f"three large pings to {self.move.final}")
        said = self.site.client.execute([*ping, str(self.move.final)], deadline=asked)
        self.check.check(
            "packets of full size are answered whole",
            said.rc == 0,
            f"{event}: {said.stdout.splitlines()[-3:]}",
        )
        machine.lab.start_session("long", _LONG)
        sizes: list[int] = []

        def look() -> bool | None:
            page = self.site.client.http(self.move.final, self.fleet.lab.port)
            sizes.append(len(page.body) if page.status == HTTPStatus.OK else 0)
            return True if sizes[-1] > _MTU else None

        try:
            arrived = poll(look, machine.deadline(10, "a long page"), interval=0.5)
        except DeadlineExpired:
            arrived = False
        self.check.check(
            "an answer larger than a packet arrives",
            arrived,
            f"{event}: bytes of lab's page that came, try after try: {sizes}",
        )

    def host_key(self) -> str:
        """Ask for the ssh host key behind the final address, as a client sees it."""
        argv = ["ssh-keyscan", "-T", "20", "-t", "ed25519", str(self.move.final)]
        asked = Deadline.after(60, f"the host key of {self.move.final}")
        return self.site.client.execute(argv, deadline=asked).stdout.strip()

    def draw(self, event: str, moments: dict[str, float]) -> None:
        """Keep the timelines of address and name for the report."""
        origin = self.address.samples[0].at
        marks = {name: at - origin for name, at in moments.items()}
        self.check.series(
            f"address {self.move.final}, {event}",
            [(s.at - origin, int(s.ok), s.kind) for s in self.address.samples],
            kind="address",
            events=marks,
        )
        self.check.series(
            f"dns {self.name}, {event}",
            [
                (s.at - origin, int(s.addresses == (self.move.final,)), s.rcode)
                for s in self.dns.samples
            ],
            kind="dns",
            events=marks,
        )


@contextmanager
def watch_swap(site: Site, check: Recorder, fleet: Fleet) -> Iterator[Swap]:
    """Watch the final address and its name from the LAN client, without a pause."""
    move = migration_of(fleet)
    with ExitStack() as stack:
        ports = (22, fleet.lab.port)
        address = stack.enter_context(site.watch_address(move.final, tcp=ports))
        dns = stack.enter_context(site.watch_dns(name_of(fleet, move)))
        yield Swap(site, check, fleet, move, address, dns)


def migration_of(fleet: Fleet) -> Migration:
    """Return the spec's migration. Raises NotExercised where it has none."""
    if fleet.migration is None:
        raise NotExercised("the spec has a [migration]")
    return fleet.migration


def name_of(fleet: Fleet, move: Migration) -> str:
    """Return the DNS name of the final address. Raises NotExercised without one."""
    names = [n for n, ip in fleet.network.hosts.items() if ip == move.final]
    if not names:
        raise NotExercised(f"[network.hosts] has a name for {move.final}")
    return names[0]
