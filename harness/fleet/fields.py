"""The kinds of value a spec holds, each with the sentence that says what is allowed.

Values that end up in QEMU's comma-separated options, in interface names or in unit
names are held to an alphabet in which nothing can break out: what passes here needs no
quoting anywhere below.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

TAP_PREFIX = "tap-"
NAME_BYTES = 15 - len(TAP_PREFIX)  # IFNAMSIZ is 16 with its NUL
NAME_PATTERN = rf"^[a-z](?:[a-z0-9-]{{0,{NAME_BYTES - 2}}}[a-z0-9])?$"
NAME_RULE = (
    f"a name of 1 to {NAME_BYTES} characters a-z, 0-9 and -, a letter first and no - "
    f"last, so that {TAP_PREFIX}NAME is an interface name (15 bytes) and no comma or "
    "quote reaches a QEMU option"
)
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
HOST_PATTERN = rf"^(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*$"
MAC_PATTERN = r"^[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}$"
ENDPOINT_PATTERN = r"^[0-9.]{7,15}:[1-9][0-9]{0,4}$"
SUBNET_BITS = range(8, 29)
LAST_PORT = 65535


def mistake(rule: str) -> PydanticCustomError:
    """Build the error whose text is exactly `rule`, a phrase on what is allowed."""
    return PydanticCustomError("rule", "{rule}", {"rule": rule})


@dataclass(frozen=True, slots=True)
class Matching:
    """Marks a text that must match `pattern` as a whole, or break `rule`."""

    pattern: str
    rule: str

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            self._check, handler(source)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "pattern": self.pattern}

    def _check(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value):
            raise mistake(self.rule)
        return value


def parse_address(value: object) -> IPv4Address:
    """Read a dotted IPv4 address; numbers and bytes are no addresses here."""
    if isinstance(value, IPv4Address):
        return value
    if isinstance(value, str):
        try:
            return IPv4Address(value)
        except ValueError:
            pass
    raise mistake('an IPv4 address such as "10.42.97.16"')


def parse_subnet(value: object) -> IPv4Network:
    """Read a subnet whose host bits are zero and which machines can live in."""
    if not isinstance(value, str | IPv4Network):
        raise mistake('a subnet such as "10.42.97.0/24"')
    try:
        subnet = IPv4Network(value)
    except ValueError as error:
        raise mistake(f'a subnet such as "10.42.97.0/24" ({error})') from None
    if subnet.prefixlen not in SUBNET_BITS:
        raise mistake(f"a subnet of /{SUBNET_BITS[0]} to /{SUBNET_BITS[-1]}")
    first = subnet.network_address
    special = first.is_loopback or first.is_multicast or first.is_link_local
    if special or first.is_reserved or first.packed[0] == 0:
        raise mistake(
            "a subnet for ordinary hosts: no loopback, link-local or multicast"
        )
    return subnet


def parse_mac(value: object) -> str:
    """Read a MAC address, in lower case, that a throwaway machine may use."""
    if not isinstance(value, str) or not re.fullmatch(MAC_PATTERN, value):
        raise mistake('a MAC address such as "52:54:00:97:00:16"')
    first = int(value[:2], 16)
    if first & 1:
        raise mistake("a unicast MAC address: the first octet must be even")
    if not first & 2:
        raise mistake(
            "a locally administered MAC address: the first octet must have bit 2 set, "
            "as in 02:… or 52:54:00:…"
        )
    return value.lower()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service listens."""

    ip: IPv4Address
    port: int

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}"


def parse_endpoint(value: object) -> Endpoint:
    """Read "10.42.97.5:8090"."""
    if isinstance(value, Endpoint):
        return value
    if isinstance(value, str) and re.fullmatch(ENDPOINT_PATTERN, value):
        host, _, port = value.partition(":")
        if int(port) <= LAST_PORT:
            return Endpoint(parse_address(host), int(port))
    raise mistake('an address and a port such as "10.42.97.5:8090"')


def _schema(kind: str, **more: str) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, **more})


_AS_TEXT = PlainSerializer(str, return_type=str)
Address = Annotated[
    IPv4Address,
    PlainValidator(parse_address),
    _AS_TEXT,
    _schema("string", format="ipv4"),
]
Subnet = Annotated[
    IPv4Network,
    PlainValidator(parse_subnet),
    _AS_TEXT,
    _schema("string", pattern=r"^[0-9.]{7,15}/[0-9]{1,2}$"),
]
Mac = Annotated[str, PlainValidator(parse_mac), _schema("string", pattern=MAC_PATTERN)]
Service = Annotated[
    Endpoint,
    PlainValidator(parse_endpoint),
    _AS_TEXT,
    _schema("string", pattern=ENDPOINT_PATTERN),
]
