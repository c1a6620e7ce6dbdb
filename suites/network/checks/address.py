"""What decides who has an address, which name leads to it, and what it serves."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Address

from harness import (
    Answer,
    Budgets,
    Check,
    DnsSample,
    HttpAnswer,
    Migration,
    Page,
    Quantity,
    Sample,
    absent,
    at_least,
    at_most,
    longest_outage,
    present,
)

MTU = 1500  # bytes; the site's links are Ethernet's
CONNECTED = "connected"
_EXCERPT = 400  # characters of a response that a report shows

_ANSWERS = {
    "ssh": "ssh answers on the final address",
    "lab": "lab answers on the final address",
}
_ANSWERED = {
    "ssh": "ssh answers on the final address beforehand",
    "lab": "lab answers on the final address beforehand",
}
_OUTAGE = {
    "ssh": "the outage of ssh is within budget",
    "lab": "the outage of lab is within budget",
}
_CONVERGES = {
    "client": "the client's neighbour cache converges",
    "fw": "the gateway's neighbour cache converges",
}


@dataclass(frozen=True, slots=True)
class PortWait:
    """How the wait for a service on the final address ended.

    `service` is ssh or lab, `probe` the kind of its samples, such as tcp:22; `last` is
    what the last probe met, CONNECTED at best.
    """

    service: str
    probe: str
    waited: Quantity
    last: str

    @property
    def answered(self) -> bool:
        """Whether the wait ended with an answer."""
        return self.last == CONNECTED


@dataclass(frozen=True, slots=True)
class Convergence:
    """When a LAN host's neighbour cache had an address's owner.

    `seconds` ends with the last look that found another entry, infinite where none
    found the owner; `mac` is the entry of the last look.
    """

    host: str
    mac: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class LargeAnswers:
    """Results for packets and pages larger than usual.

    `sizes` are the bytes of lab's page that arrived, one figure for each attempt.
    """

    ping_status: int
    ping_output: str
    sizes: tuple[int, ...]


def answers(waits: Sequence[PortWait], during: str) -> Iterator[Check]:
    """Check that each service answers on the final address after an event."""
    for wait in waits:
        yield _answer(_ANSWERS[wait.service], wait, during)


def answers_beforehand(waits: Sequence[PortWait], during: str) -> Iterator[Check]:
    """Check that each service answers on the final address before the event."""
    for wait in waits:
        yield _answer(_ANSWERED[wait.service], wait, during)


def _answer(name: str, wait: PortWait, during: str) -> Check:
    return Check(
        name,
        wait.last,
        CONNECTED,
        of=wait.probe,
        during=during,
        waited=wait.waited,
    )


def outages(
    samples: Sequence[Sample], probes: Mapping[str, str], limit: float, during: str
) -> Iterator[Check]:
    """Check the outage of each service on the final address against a budget.

    `probes` has the kind of samples of each service.
    """
    for service, probe in probes.items():
        yield Check(
            _OUTAGE[service],
            Quantity(longest_outage(samples, probe), "s"),
            at_most(limit),
            of=f"longest outage of {probe}",
            during=during,
        )


def names_lead_to(
    samples: Sequence[DnsSample], name: str, address: IPv4Address, during: str
) -> Check:
    """Check that every DNS answer is this address and no other."""
    wrong = [sample for sample in samples if set(sample.addresses) != {address}]
    given = {str(sample) for sample in wrong}
    if len(wrong) < len(samples):
        given.add(str(address))
    return Check(
        "every DNS answer is the final address",
        given,
        [address],
        of=f"answers for {name}",
        during=during,
        questions=len(samples),
        other_answers=len(wrong),
    )


def owned_by(owners: Collection[str], mac: str, ip: IPv4Address, during: str) -> Check:
    """Check that the final address has one owner on the LAN."""
    return Check(
        "only its owner answers for the final address",
        set(owners),
        [mac],
        of=f"MACs that answer for {ip}",
        during=during,
    )


def temporary_address_free(
    owners: Collection[str], move: Migration, during: str
) -> Check:
    """Check that the temporary address has no owner after the swap."""
    return Check(
        "no machine answers for the temporary address",
        set(owners),
        absent(),
        of=f"MACs that answer for {move.temporary}",
        during=during,
    )


def temporary_address_owned(
    owners: Collection[str], mac: str, move: Migration
) -> Check:
    """Check that dev has the temporary address after the reverse swap."""
    return Check(
        "only dev answers for its temporary address",
        set(owners),
        [mac],
        of=f"MACs that answer for {move.temporary}",
        during="after the reverse swap",
    )


def neighbours_converge(
    found: Sequence[Convergence], mac: str, budgets: Budgets, during: str
) -> Iterator[Check]:
    """Check that each neighbour cache has the owner's MAC within the budget."""
    for host in found:
        yield Check(
            _CONVERGES[host.host],
            Quantity(host.seconds, "s"),
            at_most(budgets.neighbour_convergence_s),
            of="time to convergence",
            during=during,
            last_entry=host.mac,
            owner=mac,
        )


def serves_lab(
    answer: HttpAnswer | Page, sessions: Collection[str], client: str, during: str
) -> Iterator[Check]:
    """Check that the final address serves lab's page, with all its sessions."""
    yield Check(
        "lab is served on the final address",
        answer.status,
        HTTPStatus.OK,
        of="HTTP status",
        during=during,
        client=client,
        **excerpt(answer, when=answer.status != HTTPStatus.OK),
    )
    named = {name for name in sessions if name in answer.body}
    yield Check(
        "lab's page names its sessions",
        named,
        set(sessions),
        of="sessions on the page",
        during=during,
        client=client,
        **excerpt(answer, when=named != set(sessions)),
    )


def excerpt(answer: HttpAnswer | Page, *, when: bool) -> dict[str, str]:
    """Return the end of a response as a fact, where it explains something."""
    return {"response": answer.body[-_EXCERPT:]} if when else {}


def has_sessions(sessions: Collection[str], during: str) -> Check:
    """Check that lab has sessions, without which its page proves nothing."""
    return Check("lab has sessions to list", set(sessions), present(), during=during)


def carries_large(seen: LargeAnswers, during: str) -> Iterator[Check]:
    """Check that packets of the LAN's full size pass in both directions.

    Where something on the way drops them silently, every connection opens and every
    long response hangs.
    """
    yield Check(
        "packets of full size are answered",
        seen.ping_status,
        0,
        of="exit status of ping",
        during=during,
        packet=Quantity(MTU, "bytes"),
        output=seen.ping_output,
    )
    yield Check(
        "a response larger than one packet arrives",
        Quantity(max(seen.sizes, default=0), "bytes"),
        at_least(Quantity(MTU + 1, "bytes")),
        of="size of lab's page",
        during=during,
        attempts=seen.sizes,
    )


def host_key_unchanged(before: str, after: str, during: str) -> Iterator[Check]:
    """Check that ssh presents the host key that clients know, as ssh-keyscan has it."""
    yield Check(
        "ssh presents a host key", before, present(), of="host key", during="beforehand"
    )
    yield Check(
        "the ssh host key is unchanged", after, before, of="host key", during=during
    )


def interface_configured(
    addresses: Sequence[IPv4Address],
    gateways: Sequence[str | None],
    final: IPv4Address,
    gateway: IPv4Address,
) -> Iterator[Check]:
    """Check that dev has one address and one default route."""
    yield Check(
        "dev has the final address and no other",
        addresses,
        [final],
        of="addresses of its interfaces",
    )
    yield Check(
        "dev has one default route, to the gateway",
        gateways,
        [gateway],
        of="gateways of its default routes",
    )


def names_after_restart(
    four: Answer, six: Answer, final: IPv4Address, budgets: Budgets
) -> Iterator[Check]:
    """Check a restarted dnsmasq's answers: `four` to A, `six` to AAAA."""
    during = "after a restart of dnsmasq"
    yield Check(
        "dnsmasq gives the final address after its restart",
        four.addresses,
        [final],
        of="answer",
        during=during,
        response_code=four.rcode,
    )
    yield Check(
        "DNS has no IPv6 address for the name",
        [str(ip) for ip in six.ipv6],
        absent(),
        of="answer",
        during=during,
        response_code=six.rcode,
    )
    yield Check(
        "the TTL of a DNS answer is within budget",
        None if four.ttl is None else Quantity(four.ttl, "s"),
        at_most(budgets.dns_ttl_s),
        of="TTL",
        during=during,
    )


def switched(rc: int, output: str) -> Check:
    """Check that the activation that moves the address succeeds."""
    return Check(
        "the switch of the swap succeeds",
        rc,
        0,
        of="exit status",
        during="swap",
        output=output,
    )


def not_rebooted(before: str, after: str) -> Check:
    """Check that the swap is a live change."""
    return Check(
        "the swap does not reboot dev", after, before, of="boot ID", during="swap"
    )
