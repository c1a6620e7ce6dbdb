"""Any file is a fleet, or exactly one error that lists the mistakes."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.fleet import Fleet, json_schema, parse_nix_json, parse_toml
from tests.fleet.strategies import (
    as_toml,
    fleets,
    near_misses,
    raw_fleets,
    rubbish,
)

if TYPE_CHECKING:
    from collections.abc import Callable

VALIDATOR = jsonschema.Draft202012Validator(json_schema())
TOML_BITS = st.sampled_from(
    [
        *("[", "]", "[[", "]]", "{", "}", "=", ",", ".", '"', "'''", '"""', "\\u0000"),
        *("vms", "network", "dev", "mac", "1", "1979-05-27", "nan", "inf"),
        *("\n", "\r", " ", "#"),
    ]
)


# The same examples on every computer, however busy it is.
steady = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def verdict(parse: Callable[[], Fleet]) -> Fleet | InputError:
    """Parse, and demand of an error one message with at least one mistake."""
    try:
        return parse()
    except InputError as error:
        caught = error
    assert caught.mistakes
    assert len(caught.mistakes) == len(set(caught.mistakes))
    assert len(str(caught).splitlines()) == 1 + len(caught.mistakes)
    assert str(caught).encode()
    return caught


@steady
@given(st.text(st.characters(codec="utf-8")))
def test_any_text_is_a_fleet_or_one_error(text: str) -> None:
    """Arbitrary text never escapes as another exception, read either way."""
    verdict(lambda: parse_toml(text))
    verdict(lambda: parse_nix_json(text))


@steady
@given(st.lists(TOML_BITS, max_size=40).map("".join))
def test_any_toml_like_text_is_a_fleet_or_one_error(text: str) -> None:
    """Text made of TOML's own tokens reaches deeper than arbitrary text."""
    verdict(lambda: parse_toml(text))


@steady
@given(near_misses())
def test_a_near_miss_is_a_fleet_or_one_error(raw: dict[str, Any]) -> None:
    """Changing a few places of a valid spec is either harmless or reported."""
    text = as_toml(raw)
    assert tomllib.loads(text) == raw
    verdict(lambda: parse_toml(text))


@steady
@given(rubbish())
def test_any_json_is_a_fleet_or_one_error(data: object) -> None:
    """Any JSON value, as the VMs or as the whole."""
    verdict(lambda: parse_nix_json(json.dumps(data)))
    verdict(lambda: parse_nix_json(json.dumps({"dev": data})))


@steady
@given(raw_fleets())
def test_a_valid_spec_loads_and_fits_the_schema(raw: dict[str, Any]) -> None:
    """What loads is what the published schema allows, and survives a round trip."""
    fleet = parse_toml(as_toml(raw))
    VALIDATOR.validate(raw)
    dumped = fleet.model_dump(mode="json", by_alias=True, exclude_none=True)
    VALIDATOR.validate(dumped)
    again = parse_toml(as_toml(dumped))
    assert again == fleet
    assert again.digest == fleet.digest


@steady
@given(raw_fleets())
def test_nix_json_gives_the_same_vms(raw: dict[str, Any]) -> None:
    """VMs from JSON next to a TOML file equal the VMs inside that file."""
    fleet = parse_toml(as_toml(raw))
    rest = {key: value for key, value in raw.items() if key != "vms"}
    nulls = {name: {"cpuWeight": None, **vm} for name, vm in raw["vms"].items()}
    companion = (as_toml(rest), "fleet.toml")
    assert fleet == parse_nix_json(json.dumps(nulls), companion=companion)


@steady
@given(fleets())
def test_a_throwaway_machine_is_never_larger(fleet: Fleet) -> None:
    """Scaling only ever takes away, and says so for each value it changed."""
    changed = 0
    for name, vm in fleet.vms.items():
        small = fleet.throwaway_vm(name)
        assert (small.name, small.mac, small.ip) == (vm.name, vm.mac, vm.ip)
        pairs = [
            (small.mem, vm.mem),
            (small.vcpu, vm.vcpu),
            (small.disk_size_g, vm.disk_size_g),
        ]
        assert all(used <= full for used, full in pairs)
        changed += sum(used != full for used, full in pairs)
    assert len(fleet.scaled) == changed


@steady
@given(fleets())
def test_nothing_of_a_vm_breaks_out_of_a_qemu_option(fleet: Fleet) -> None:
    """Name, tap, MAC and address hold no character that QEMU's options give meaning."""
    for vm in fleet.vms.values():
        assert not set(",=\"'\n\\ ") & set(f"{vm.name}{vm.tap}{vm.mac}{vm.ip}")
        assert len(vm.tap.encode()) <= 15


@pytest.mark.parametrize("opening", ["a = [", "a = {b = "])
@pytest.mark.parametrize("depth", [50, 100_000])
def test_deep_nesting_is_a_fault(opening: str, depth: int) -> None:
    """A document nested beyond what the parser can follow is refused, not fatal."""
    inner = opening.partition("= ")[2]
    assert isinstance(verdict(lambda: parse_toml(opening + inner * depth)), InputError)
    assert isinstance(verdict(lambda: parse_nix_json("[" * depth)), InputError)
