"""The layout of the LAN: pure functions from a network to a plan.

The plan is turned into one shell script that the sandbox runs before its first process
is up, and into small ones for what comes and goes later. Nothing here acts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from harness.errors import InputError, Mistake
from harness.fleet import TAP_PREFIX

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from harness.fleet import NetworkSpec

BRIDGE = "br-lan"
CLIENT = "client"
EYE = "eye"
NETNS_DIRECTORY = "/run/netns"
RESOLVER = "/run/site-resolv.conf"
INTERFACE_NAME_MAX = 15
"""IFNAMSIZ less the final zero: the kernel refuses longer names."""

# A new namespace inherits IPv4 settings from the computer it is made on, so a container
# host's forwarding or arp_ignore would decide a verdict. No IPv6: the site has none.
_TUNE = """\
echo 0 >/proc/sys/net/ipv4/ip_forward
cd /proc/sys/net/ipv4/conf
for f in */arp_[afin]* */rp_filter */drop_gratuitous_arp; do echo 0 >$f; done
for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do [ ! -e $f ] || echo 1 >$f; done
cd /"""

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True)
class Station:
    """A host on the LAN: a network namespace on one end of a veth pair.

    `ip` is None for the eye: a port that sees and asks but owns no address.
    """

    name: str
    link: str
    ip: IPv4Address | None
    mac: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The LAN before any machine is on it."""

    gateway: IPv4Address
    prefix: int
    stations: tuple[Station, ...]
    eye_ip: IPv4Address

    @property
    def gateway_mac(self) -> str:
        """The bridge's own address, fixed: a bridge left alone takes its ports'."""
        return mac_of(self.gateway)


def mac_of(ip: IPv4Address) -> str:
    """Derive the link-layer address of one of our own hosts: local, unicast, stable."""
    return _mac("02:00", ip)


def plan(network: NetworkSpec, reserved: Collection[IPv4Address] = ()) -> Layout:
    """Give every fixed host of the LAN its place.

    The eye takes the highest address that neither the network nor `reserved` (the
    machines') speaks for. Raises InputError when the subnet has no room for it.
    """
    services = {endpoint.ip: name for name, endpoint in network.services.items()}
    services.pop(network.gateway, None)
    client = network.client_address
    named = {network.gateway, client, *network.hosts.values(), *services}
    eye = _free(network, {*named, *reserved})
    hosts = {client: CLIENT} | services
    stations = [
        Station(check_name(name), f"lan{index}", ip, mac_of(ip))
        for index, (ip, name) in enumerate(hosts.items())
    ]
    # The eye asks as many: its MACs are a family apart from the hosts'.
    stations.append(Station(EYE, "eye", None, _mac("02:01", eye)))
    _refuse_twins(stations)
    return Layout(network.gateway, network.subnet.prefixlen, tuple(stations), eye)


def tap_name(machine: str) -> str:
    """Name the tap of a machine. Raises InputError when the kernel would refuse it."""
    name = f"{TAP_PREFIX}{check_name(machine)}"
    room = INTERFACE_NAME_MAX - len(TAP_PREFIX)
    if len(name) > INTERFACE_NAME_MAX:
        mistake = Mistake(
            "machine name",
            machine,
            f"{len(machine)} bytes",
            f"at most {room} bytes: its tap is {name!r} and an interface name has at "
            f"most {INTERFACE_NAME_MAX}",
        )
        raise InputError("a machine's name does not fit its tap", [mistake])
    return name


def check_name(name: str) -> str:
    """Return a name fit for a namespace, a file and a script; else InputError."""
    if not _SAFE_NAME.fullmatch(name):
        mistake = Mistake(
            "host name", name, "", "letters, digits, '.', '_', '-'; first not a mark"
        )
        raise InputError("a host on the site has an unusable name", [mistake])
    return name


def capsule_script(layout: Layout, directory: Path) -> str:
    """Write what the sandbox does before its first process takes over.

    A private /run comes first, so that `ip netns` keeps its names inside. A site
    directory below /run would vanish beneath it and is carried across by descriptor.
    """
    return "\n".join(
        [
            "set -eu",
            "export PATH=$PATH:/usr/sbin:/sbin",
            f"exec 9<{_quote(str(directory))}",
            "mount -t tmpfs -o mode=755,nosuid,nodev sandbox /run",
            *_carry_across(directory),
            "exec 9<&-",
            f"mkdir {NETNS_DIRECTORY}",
            resolver_script(layout.gateway),
            _batch(_bridge(layout)),
            _TUNE,
            *(station_script(station, layout.prefix) for station in layout.stations),
        ]
    )


def resolver_script(gateway: IPv4Address) -> str:
    """Write what makes the gateway the name server of every program inside.

    /etc/resolv.conf is a file, or a link to one in the /run that was just replaced, as
    systemd-resolved has it. Where it is neither, programs ask their own loopback, where
    nobody answers: names are then unknown, and nothing else changes.
    """
    return f"""\
conf=$(readlink -m /etc/resolv.conf)
echo 'nameserver {gateway}' >{RESOLVER}
case $conf in
/run/*) mkdir -p "${{conf%/*}}" && cp {RESOLVER} "$conf" ;;
*) [ ! -f "$conf" ] || mount --bind {RESOLVER} "$conf" ;;
esac"""


def station_script(station: Station, prefix: int) -> str:
    """Write what puts one host on the bridge, in a namespace of its own."""
    veth = f"{station.link} type veth peer name eth0 address {station.mac}"
    outside = [
        f"netns add {station.name}",
        f"link add {veth} netns {station.name}",
        f"link set {station.link} master {BRIDGE} up",
    ]
    inside = ["link set lo up"]
    if station.ip is not None:
        inside.append(f"address add {station.ip}/{prefix} brd + dev eth0")
    # Without ARP the kernel behind the eye neither answers nor learns.
    quiet = " arp off" if station.ip is None else ""
    inside.append(f"link set eth0{quiet} up")
    enter = f"nsenter --net={NETNS_DIRECTORY}/{station.name} sh -eu <<'STATION'"
    return "\n".join([_batch(outside), enter, _TUNE, _batch(inside), "STATION"])


def station_removal_script(station: Station) -> str:
    """Return the script that removes a host from the LAN, even a partial one."""
    return (
        f"ip link delete {station.link} 2>/dev/null || true\n"
        f"ip netns delete {station.name} 2>/dev/null || true"
    )


def tap_up_script(name: str) -> str:
    """Write what gives a machine its tap, taking away one that a crash left behind."""
    return f"{tap_down_script(name)}\n" + _batch(
        [f"tuntap add dev {name} mode tap", f"link set {name} master {BRIDGE} up"]
    )


def tap_down_script(name: str) -> str:
    """Write what removes a tap, present or not."""
    return f"ip link delete {name} 2>/dev/null || true"


def _bridge(layout: Layout) -> list[str]:
    quick = "stp_state 0 forward_delay 0 mcast_snooping 0"
    return [
        "link set lo up",
        f"link add {BRIDGE} address {layout.gateway_mac} type bridge {quick}",
        f"address add {layout.gateway}/{layout.prefix} brd + dev {BRIDGE}",
        f"link set {BRIDGE} up",
    ]


def _mac(prefix: str, ip: IPv4Address) -> str:
    return ":".join([prefix, *(f"{octet:02x}" for octet in ip.packed)])


def _batch(commands: list[str]) -> str:
    return "\n".join(["ip -batch - <<'BATCH'", *commands, "BATCH"])


def _carry_across(directory: Path) -> Iterator[str]:
    if directory.is_relative_to("/run"):
        quoted = _quote(str(directory))
        yield f"mkdir -p {quoted}"
        # Made canonical, the source would be the empty directory just made.
        yield f"mount --no-canonicalize --bind /proc/self/fd/9 {quoted}"


def _free(network: NetworkSpec, taken: Collection[IPv4Address]) -> IPv4Address:
    first, last = network.subnet.network_address, network.subnet.broadcast_address
    for number in range(int(last) - 1, int(first), -1):
        if (ip := IPv4Address(number)) not in taken:
            return ip
    mistake = Mistake(
        "network", "subnet", str(network.subnet), "room for one more host"
    )
    raise InputError("the subnet is full", [mistake])


def _refuse_twins(stations: Collection[Station]) -> None:
    names = [station.name for station in stations]
    for name in {name for name in names if names.count(name) > 1}:
        mistake = Mistake(
            "network", f"services.{name}", "", "a name the site does not use"
        )
        raise InputError("two hosts of the site have one name", [mistake])


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
