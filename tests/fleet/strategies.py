"""Hypothesis strategies for specs: valid fleets, near misses, and plain rubbish."""

from __future__ import annotations

import json
import string
from ipaddress import IPv4Network
from typing import Any

from hypothesis import strategies as st

from harness.fleet import Fleet

LOWER = string.ascii_lowercase
NAME_TAIL = LOWER + string.digits + "-"


def names() -> st.SearchStrategy[str]:
    """Names fit for VMs and services."""
    tail = st.text(NAME_TAIL, max_size=10)
    return st.builds(lambda head, rest: (head + rest).rstrip("-"), _letter(), tail)


def _letter() -> st.SearchStrategy[str]:
    return st.sampled_from(LOWER)


def macs() -> st.SearchStrategy[str]:
    """Unicast, locally administered MAC addresses."""
    first = st.integers(0, 63).map(lambda n: n << 2 | 2)
    octets = st.tuples(first, *[st.integers(0, 255)] * 5)
    return octets.map(lambda six: ":".join(f"{octet:02x}" for octet in six))


def subnets() -> st.SearchStrategy[IPv4Network]:
    """Private subnets with room for a handful of hosts."""
    prefixes = st.integers(16, 28)
    return st.builds(
        lambda host, bits: IPv4Network((0x0A000000 | host, bits), strict=False),
        st.integers(0, 2**24 - 1),
        prefixes,
    )


def user_data() -> st.SearchStrategy[str]:
    """User-data that cloud-init would take."""
    value = st.text(string.printable.strip() + " ,\"'\n", max_size=30)
    script = value.map(lambda text: f"#!/bin/sh\n{text}")
    config = value.map(lambda text: f"#cloud-config\nhostname: {json.dumps(text)}\n")
    return st.one_of(st.just(""), script, config)


@st.composite
def raw_fleets(draw: st.DrawFn) -> dict[str, Any]:
    """Plain data of a valid spec, as a TOML reader would give it."""
    subnet = draw(subnets())
    vm_names = draw(st.lists(names(), min_size=1, max_size=4, unique=True))
    service_names = draw(st.lists(names(), max_size=3, unique=True))
    count = 5 + len(vm_names) + len(service_names)
    offsets = st.integers(1, min(subnet.num_addresses - 2, 2**16))
    taken = draw(st.lists(offsets, min_size=count, max_size=count, unique=True))
    free = [str(subnet[offset]) for offset in taken]
    gateway, client, final = free.pop(), free.pop(), free.pop()
    unique = draw(st.lists(macs(), min_size=len(vm_names), unique=True))
    raw: dict[str, Any] = {
        "network": {
            "subnet": str(subnet),
            "gateway": gateway,
            "client": client,
            "hosts": {"dev.cloonar.com": final},
            "services": {name: f"{free.pop()}:8090" for name in service_names},
        },
        "vms": {
            name: {"mac": mac, "ip": free.pop(), **draw(options())}
            for name, mac in zip(vm_names, unique, strict=False)
        },
    }
    if draw(st.booleans()):
        moved = vm_names[0]
        temporary = raw["vms"][moved]["ip"]
        raw["migration"] = {"vm": moved, "temporary": temporary, "final": final}
    if draw(st.booleans()):
        raw["ingress"] = {
            "name": "lab.cloonar.com",
            "ip": free.pop(),
            "portal": "auth.cloonar.com",
            "auth": f"{free.pop()}:9091",
        }
    return raw


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    """Any valid choice of a VM's optional settings."""
    full: dict[str, Any] = {
        "mem": draw(st.integers(128, 4 * 2**20)),
        "vcpu": draw(st.integers(1, 255)),
        "diskSizeG": draw(st.integers(1, 65536)),
        "autostart": draw(st.booleans()),
        "cpuWeight": draw(st.integers(1, 10000)),
        "cloudInit": {"userData": draw(user_data())},
    }
    kept = draw(st.sets(st.sampled_from(sorted(full))))
    return {key: value for key, value in full.items() if key in kept}


def fleets() -> st.SearchStrategy[Fleet]:
    """Any valid spec."""
    return raw_fleets().map(
        lambda raw: Fleet.model_validate(raw, by_alias=True, by_name=False)
    )


def rubbish() -> st.SearchStrategy[Any]:
    """Anything that TOML and JSON can both say."""
    scalar = st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8"), max_size=20),
        st.sampled_from(["10.42.97.16", "52:54:00:97:00:16", "a,b=c", 'x"y', "a\nb"]),
    )
    return st.recursive(
        scalar,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), inner),
        ),
        max_leaves=6,
    )


@st.composite
def near_misses(draw: st.DrawFn) -> dict[str, Any]:
    """Change, add or drop up to three places of a valid spec's plain data."""
    raw = draw(raw_fleets())
    for _ in range(draw(st.integers(1, 3))):
        level = raw
        while True:
            tables = [k for k, v in level.items() if isinstance(v, dict) and v]
            if not tables or draw(st.booleans()):
                break
            level = level[draw(st.sampled_from(tables))]
        key = draw(st.sampled_from(sorted(level)) if level else st.just("x"))
        change = draw(st.sampled_from(["replace", "add", "drop"]))
        if change == "replace":
            level[key] = draw(rubbish())
        elif change == "add":
            level[draw(st.text(st.characters(codec="utf-8"), max_size=8))] = draw(
                rubbish()
            )
        else:
            level.pop(key, None)
    return raw


def as_toml(data: dict[str, Any]) -> str:
    """Write plain data as TOML: top keys as inline tables."""
    return "".join(f"{_key(k)} = {_value(v)}\n" for k, v in data.items())


def _key(key: str) -> str:
    return _string(key)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for surrogate pairs and DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _string(value) if isinstance(value, str) else repr(value)
