"""What decides the network's criteria: each way to fail has a check that fails."""

from __future__ import annotations

import math
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import pytest

from harness.evidence import Check
from harness.fleet import Budgets, Migration
from harness.site import Answer, DnsSample, HttpAnswer, Page, Sample
from suites.network import recovery
from suites.network.checks import address, ingress, retirement
from suites.network.checks.address import Convergence, LargeAnswers
from suites.network.checks.ingress import Recovery, Streams
from suites.network.checks.retirement import OldVm, Remains

if TYPE_CHECKING:
    from collections.abc import Iterable

BUDGETS = Budgets()
FINAL, TEMPORARY = IPv4Address("10.42.97.15"), IPv4Address("10.42.97.16")
MOVE = Migration(vm="dev", temporary=TEMPORARY, final=FINAL)
MAC, OTHER_MAC = "52:54:00:97:00:16", "52:54:00:97:00:15"
LAB = "lab: reached"
PORTAL = "https://auth.example.org/?rd=x"

REFUSED = Page(302, "", {"location": PORTAL})
SERVED = Page(200, f"{LAB}\nas alice\n", {})
SILENT = Page(0, "TimeoutError: timed out", {})


def failed(checks: Check | Iterable[Check]) -> list[str]:
    """Name the checks that do not hold, each once."""
    several = [checks] if isinstance(checks, Check) else checks
    return [*dict.fromkeys(check.name for check in several if not check.held)]


def tcp(*ok: bool) -> list[Sample]:
    """Give one TCP probe a second."""
    return [Sample(float(at), "tcp:22", good, "") for at, good in enumerate(ok)]


def dns(*addresses: IPv4Address, rcode: str = "NOERROR") -> DnsSample:
    """Give one DNS answer."""
    return DnsSample(0.0, bool(addresses), addresses, rcode, 0, 0.01)


def test_the_longest_outage_counts() -> None:
    """Against the budget of the event."""
    probes = {"ssh": "tcp:22"}
    samples = tcp(True, False, False, True)
    assert failed(address.outages(samples, probes, 2.0, "swap")) == []
    assert failed(address.outages(samples, probes, 1.9, "swap")) == [
        "the outage of ssh is within budget"
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        dns(TEMPORARY),
        dns(FINAL, TEMPORARY),
        dns(rcode="NXDOMAIN"),
        dns(rcode=""),
    ],
)
def test_every_dns_answer_counts(wrong: DnsSample) -> None:
    """One wrong or missing answer among right ones is enough."""

    def judged(*samples: DnsSample) -> list[str]:
        return failed(address.names_lead_to(samples, "dev.example.org", FINAL, "swap"))

    assert judged(dns(FINAL), dns(FINAL)) == []
    assert judged(dns(FINAL), wrong) == ["every DNS answer is the final address"]
    assert judged(wrong) == ["every DNS answer is the final address"]


@pytest.mark.parametrize("owners", [set(), {OTHER_MAC}, {MAC, OTHER_MAC}])
def test_an_address_has_one_owner(owners: set[str]) -> None:
    """Neither none, nor another, nor two."""
    assert failed(address.owned_by({MAC}, MAC, FINAL, "swap")) == []
    assert failed(address.owned_by(owners, MAC, FINAL, "swap")) == [
        "only its owner answers for the final address"
    ]
    assert failed(address.temporary_address_owned(owners, MAC, MOVE)) == [
        "only dev answers for its temporary address"
    ]
    assert bool(owners) == bool(
        failed(address.temporary_address_free(owners, MOVE, "swap"))
    )


def test_neighbour_caches_converge_in_time() -> None:
    """A cache that never has the owner's MAC took infinitely long."""
    found = [Convergence("client", MAC, 9.9), Convergence("fw", OTHER_MAC, math.inf)]
    assert failed(address.neighbours_converge(found, MAC, BUDGETS, "swap")) == [
        "the gateway's neighbour cache converges"
    ]


def test_lab_is_served_with_its_sessions() -> None:
    """A page of another server, or of an empty lab, is not lab's."""
    served = "lab is served on the final address"
    named = "lab's page names its sessions"
    for answer, names in (
        (HttpAnswer(200, "alpha beta"), []),
        (HttpAnswer(200, "alpha"), [named]),
        (HttpAnswer(502, "alpha beta"), [served]),
        (HttpAnswer(0, "refused"), [served, named]),
    ):
        checks = address.serves_lab(answer, ["alpha", "beta"], "client", "swap")
        assert failed(checks) == names
    assert failed(address.has_sessions({}, "swap")) == ["lab has sessions to list"]


def test_large_packets_and_pages_arrive() -> None:
    """A page of exactly one packet proves nothing."""
    packets = "packets of full size are answered"
    pages = "a response larger than one packet arrives"
    whole = LargeAnswers(0, "", (0, 1501))
    assert failed(address.carries_large(whole, "")) == []
    assert failed(address.carries_large(replace(whole, ping_status=1), "")) == [packets]
    for sizes in (), (0, 1500):
        seen = replace(whole, sizes=sizes)
        assert failed(address.carries_large(seen, "")) == [pages]


def test_the_host_key_is_known() -> None:
    """No key before is not the same key as none after."""
    assert failed(address.host_key_unchanged("k1", "k1", "reboot")) == []
    changed = "the ssh host key is unchanged"
    assert failed(address.host_key_unchanged("k1", "k2", "reboot")) == [changed]
    assert failed(address.host_key_unchanged("k1", "", "reboot")) == [changed]
    assert failed(address.host_key_unchanged("", "", "reboot")) == [
        "ssh presents a host key"
    ]


@pytest.mark.parametrize(
    ("four", "six", "name"),
    [
        (
            Answer((TEMPORARY,), "NOERROR", 0),
            Answer((), "NOERROR", None),
            "dnsmasq gives the final address after its restart",
        ),
        (
            Answer((FINAL,), "NOERROR", 0),
            Answer((), "NOERROR", 0, (IPv6Address("2001:db8::1"),)),
            "DNS has no IPv6 address for the name",
        ),
        (
            Answer((FINAL,), "NOERROR", 61),
            Answer((), "NOERROR", None),
            "the TTL of a DNS answer is within budget",
        ),
        (
            Answer((FINAL,), "NOERROR", None),
            Answer((), "NOERROR", None),
            "the TTL of a DNS answer is within budget",
        ),
    ],
)
def test_dnsmasq_is_right_after_a_restart(four: Answer, six: Answer, name: str) -> None:
    """One address, short-lived, and none of IPv6."""
    right = Answer((FINAL,), "NOERROR", 60), Answer((), "NOERROR", None)
    assert failed(address.names_after_restart(*right, FINAL, BUDGETS)) == []
    assert failed(address.names_after_restart(four, six, FINAL, BUDGETS)) == [name]


def test_nothing_of_the_old_vm_is_left() -> None:
    """Each kind of remains has a check; dev's own lines are none."""
    old = OldVm("old", OTHER_MAC, "vm-old")
    line = f"host-record=dev.example.org,{FINAL}"
    nothing = Remains([], [], [], {"vm-dev", "lan0"}, [line])
    assert failed(retirement.gone(old, nothing, "")) == []
    for remains, name in (
        (replace(nothing, processes=["12: qemu"]), "no process of the old VM is left"),
        (
            replace(nothing, holders=["12: cat"]),
            "no process holds the old VM's files open",
        ),
        (replace(nothing, files=["disk.qcow2"]), "no file of the old VM is left"),
        (replace(nothing, interfaces={"vm-old"}), "no tap of the old VM is left"),
        *(
            (
                replace(nothing, dns=[line, about]),
                "dnsmasq's configuration does not mention the old VM",
            )
            for about in (
                f"dhcp-host={OTHER_MAC.upper()},{FINAL}",
                f"host-record=old.example.org,{FINAL}",
                f"dhcp-host=id:x,old,{FINAL}",
            )
        ),
    ):
        assert failed(retirement.gone(old, remains, "")) == [name]


def test_the_weight_is_the_specs() -> None:
    """A spec without one cannot show that it moved."""
    moved = "the CPU weight is set on dev's unit"
    assert failed(retirement.weight_moved(50, 50)) == []
    assert failed(retirement.weight_moved(100, 50)) == [moved]
    assert failed(retirement.weight_moved(100, None)) == [
        "the spec has a CPU weight for dev",
        moved,
    ]


@pytest.mark.parametrize(
    ("page", "names"),
    [
        (REFUSED, []),
        (Page(403, "", {}), []),
        (
            SERVED,
            [
                "a request without a session is refused",
                "a response without a session shows nothing of lab",
            ],
        ),
        (
            Page(302, LAB, {}),
            ["a response without a session shows nothing of lab"],
        ),
        (Page(500, "", {}), ["a request without a session is refused"]),
        (SILENT, ["a request without a session is refused"]),
    ],
)
def test_no_session_no_lab(page: Page, names: list[str]) -> None:
    """By the status, and by what the response shows."""
    assert failed(ingress.refused({"plain": page}, LAB, "")) == names


def test_a_refusal_leads_to_the_portal() -> None:
    """And to no host whose name only begins like the portal's."""
    for location, held in ((PORTAL, True), ("https://auth.example.org.x/", False)):
        page = Page(302, "", {"location": location})
        assert ingress.sent_to_login(page, "auth.example.org", "").held is held


def test_lab_learns_who_signed_in() -> None:
    """The user of the session alone, not a header of the request."""
    forged = "a forged Remote-User header does not reach lab"
    known = "lab receives the signed-in user as Remote-User"
    for text, held in (
        ("as alice", True),
        ("as root", False),
        ("as root\nas alice", False),
        ("", False),
    ):
        page = Page(200, text, {})
        assert failed(ingress.identifies(SERVED, page, "")) == [forged] * (not held)
        assert failed(ingress.identifies(page, SERVED, "")) == [known] * (not held)


def test_without_authentication_nothing_is_served() -> None:
    """An error of the server, and nothing of lab in it."""
    fails = "without the authentication service every request fails"
    shows = "without the authentication service no response shows anything of lab"
    for page, names in (
        (Page(500, "", {}), []),
        (Page(502, LAB, {}), [shows]),
        (SERVED, [fails, shows]),
        (REFUSED, [fails]),
        (SILENT, [fails]),
    ):
        assert failed(ingress.fails_closed({"with": page}, LAB, "")) == names


def test_lab_is_reached_by_its_name_on_the_lan() -> None:
    """At once, or within the budget after a change."""
    late = "lab is reachable on the LAN again within budget"
    answer = HttpAnswer(200, LAB)
    assert failed(ingress.serves_lan(Recovery(0, answer), [LAB], None, "")) == []
    assert failed(ingress.serves_lan(Recovery(11, answer), [LAB], 10, "")) == [late]
    silent = Recovery(math.inf, HttpAnswer(0, "refused"))
    assert failed(ingress.serves_lan(silent, [LAB], 10, "")) == [
        late,
        "lab is reachable by its name on the LAN",
        "the LAN name leads to lab's page",
    ]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"events": [1, 2]}, "an event stream goes on over a reload"),
        ({"opened": ""}, "a WebSocket opens through the web VM"),
        ({"problem": "BrokenPipeError"}, "a WebSocket opens through the web VM"),
        ({"echoes": {"first": "first"}}, "a WebSocket stays open over a reload"),
    ],
)
def test_streams_outlive_reloads(change: dict[str, object], name: str) -> None:
    """Every number arrives, and every echo."""
    echoes = {"first": "first", "second": "second"}
    whole = Streams([1, 2, 3], 101, "before", echoes, "")
    assert failed(ingress.survives_reloads(whole, [1, 2, 3])) == []
    broken = replace(whole, **change)  # type: ignore[arg-type]
    assert failed(ingress.survives_reloads(broken, [1, 2, 3])) == [name]


def test_recovery_ends_with_the_last_failure() -> None:
    """At once it takes no time, and never is infinite."""
    looks = iter([(False, "a"), (False, "b"), (True, "c")])
    seconds, seen = recovery.time_to(lambda: next(looks), 5.0, "the third look")
    assert (0 < seconds < 5.0, seen) == (True, "c")
    assert recovery.time_to(lambda: (True, "a"), 5.0, "the first look") == (0.0, "a")
    never = recovery.time_to(lambda: (False, "a"), 0.01, "nothing")
    assert never == (math.inf, "a")
