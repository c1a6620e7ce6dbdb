"""Mistakes that only a comparison of several parts of a spec shows.

The checks read the plain data, not the models, and skip parts that do not parse: so a
typing error in one VM does not hide that two others share an address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import PydanticCustomError

from harness.fleet.fields import (
    parse_address,
    parse_endpoint,
    parse_mac,
    parse_subnet,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Address, IPv4Network

T = TypeVar("T")
DEFAULT_SUBNET = "10.42.97.0/24"
DEFAULT_GATEWAY = "10.42.97.1"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a path into the spec."""

    at: tuple[str, ...]
    allowed: str


@dataclass(frozen=True, slots=True)
class _View:
    """The parts that the checks compare, each only where it parses."""

    subnet: IPv4Network | None
    gateway: IPv4Address | None
    client: IPv4Address | None
    services: dict[str, IPv4Address]
    web: dict[str, IPv4Address]
    ips: dict[str, IPv4Address]
    macs: dict[str, str]
    names: dict[str, object]
    vms: Mapping[str, object]
    migration: Mapping[str, object]
    ingress: Mapping[str, object]


def crosscheck(raw: object) -> list[Problem]:
    """Return every clash in a spec's plain data; it may be arbitrarily wrong."""
    view = _look(_table(raw))
    return [
        *_places(view),
        *_name_clashes(view),
        *_clashes(view),
        *_migration(view),
        *_ingress(view),
    ]


def _look(raw: Mapping[str, object]) -> _View:
    network = _table(raw.get("network"))
    subnet = _try(parse_subnet, network.get("subnet", DEFAULT_SUBNET))
    client = _try(parse_address, network.get("client"))
    if subnet and network.get("client") is None:
        client = subnet.broadcast_address - 1
    services = {
        name: endpoint.ip
        for name, value in _table(network.get("services")).items()
        if (endpoint := _try(parse_endpoint, value))
    }
    ingress = _table(raw.get("ingress"))
    auth = _try(parse_endpoint, ingress.get("auth"))
    vms = _table(raw.get("vms"))
    tables = {name: _table(vm) for name, vm in vms.items()}
    return _View(
        subnet=subnet,
        gateway=_try(parse_address, network.get("gateway", DEFAULT_GATEWAY)),
        client=client,
        services=services,
        web=_parsed(parse_address, "ip", {"ip": ingress})
        | ({"auth": auth.ip} if auth else {}),
        ips=_parsed(parse_address, "ip", tables),
        macs=_parsed(parse_mac, "mac", tables),
        names={name: vm.get("name", name) for name, vm in tables.items()},
        vms=vms,
        migration=_table(raw.get("migration")),
        ingress=ingress,
    )


def _places(view: _View) -> Iterator[Problem]:
    """Addresses must be ones that a host in the subnet can have."""
    for at, ip in _addresses(view):
        if view.subnet is None:
            return
        ends = (view.subnet.network_address, view.subnet.broadcast_address)
        if ip not in view.subnet:
            yield Problem(at, f"an address inside the subnet {view.subnet}")
        elif ip in ends:
            yield Problem(at, f"neither first nor last address of {view.subnet}")


def _addresses(view: _View) -> Iterator[tuple[tuple[str, ...], IPv4Address]]:
    if view.gateway:
        yield ("network", "gateway"), view.gateway
    if view.client:
        yield ("network", "client"), view.client
    for name, ip in view.services.items():
        yield ("network", "services", name), ip
    for key, ip in view.web.items():
        yield ("ingress", key), ip
    for name, ip in view.ips.items():
        yield ("vms", name, "ip"), ip
    for key in ("temporary", "final"):
        moved = _try(parse_address, view.migration.get(key))
        if moved:
            yield ("migration", key), moved


def _name_clashes(view: _View) -> Iterator[Problem]:
    for key, name in view.names.items():
        if name != key:
            yield Problem(("vms", key, "name"), f"the key it stands under, {key!r}")


def _clashes(view: _View) -> Iterator[Problem]:
    """Everyone on the LAN needs an address of their own, and VMs a MAC."""
    owners: dict[IPv4Address, str] = {}
    for at, ip in _addresses(view):
        if at[0] == "migration":
            continue
        owner = _owner(at)
        if ip in owners:
            yield Problem(at, f"an address of its own: {owners[ip]} has {ip}")
        owners.setdefault(ip, owner)
    by_mac: dict[str, str] = {}
    for name, mac in view.macs.items():
        if mac in by_mac:
            where = by_mac[mac]
            yield Problem(("vms", name, "mac"), f"a MAC of its own: {where} has {mac}")
        by_mac.setdefault(mac, f"VM {name}")


def _owner(at: tuple[str, ...]) -> str:
    if at[0] == "vms":
        return f"VM {at[1]}"
    if at[0] == "ingress":
        return "the ingress" if at[1] == "ip" else "the auth service"
    return f"service {at[2]}" if at[1] == "services" else f"the {at[1]}"


def _migration(view: _View) -> Iterator[Problem]:
    """Hold the migration to a known VM and to two free addresses."""
    if not view.migration:
        return
    name = view.migration.get("vm")
    temporary = _try(parse_address, view.migration.get("temporary"))
    final = _try(parse_address, view.migration.get("final"))
    if temporary and temporary == final:
        yield Problem(("migration", "final"), f"not the temporary address {temporary}")
    if isinstance(name, str) and name not in view.vms:
        known = ", ".join(sorted(view.vms)) or "none"
        yield Problem(("migration", "vm"), f"a VM under [vms], which has: {known}")
        return
    own = view.ips.get(name) if isinstance(name, str) else None
    if own and temporary and final and own not in (temporary, final):
        yield Problem(
            ("vms", str(name), "ip"),
            f"one of the addresses in [migration], {temporary} or {final}",
        )
    yield from _taken(view, name, temporary, final)


def _taken(
    view: _View,
    name: object,
    temporary: IPv4Address | None,
    final: IPv4Address | None,
) -> Iterator[Problem]:
    """Neither address of the migration may belong to someone else.

    One exception: another VM may have the final address, it is the one to retire.
    """
    for at, ip in _addresses(view):
        if at[0] == "migration" or at == ("vms", name, "ip"):
            continue
        if ip == temporary:
            yield Problem(("migration", "temporary"), f"free, but {_owner(at)} has it")
        if ip == final and at[0] != "vms":
            yield Problem(("migration", "final"), f"free, but {_owner(at)} has it")


def _ingress(view: _View) -> Iterator[Problem]:
    """Hold lab and login page to one domain: the session is a cookie of it."""
    name, portal = view.ingress.get("name"), view.ingress.get("portal")
    if not isinstance(name, str) or not isinstance(portal, str):
        return
    domain = name.partition(".")[2]
    if portal == name or not domain or portal.partition(".")[2] != domain:
        allowed = f"another name in {domain or 'the domain'} of ingress.name"
        yield Problem(("ingress", "portal"), allowed)


def _parsed(
    parse: Callable[[object], T], key: str, tables: Mapping[str, Mapping[str, object]]
) -> dict[str, T]:
    pairs = ((name, _try(parse, vm.get(key))) for name, vm in tables.items())
    return {name: value for name, value in pairs if value is not None}


def _try(parse: Callable[[object], T], value: object) -> T | None:
    try:
        return parse(value)
    except PydanticCustomError:
        return None


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
