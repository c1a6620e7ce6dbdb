"""The spec as people write it: what loads, what is refused, and in which words."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path

import jsonschema
import pydantic
import pytest

from harness.errors import InputError, Mistake
from harness.fleet import Budgets, json_schema, load_fleet, parse_nix_json, parse_toml
from harness.fleet.schema import COMMITTED, text

ROOT = Path(__file__).parents[2]
DEV = '[vms.dev]\nmac = "52:54:00:97:00:16"\nip = "10.42.97.16"\n'
DOOR = (
    '[ingress]\nname = "lab.cloonar.com"\nip = "10.42.97.6"\n'
    'portal = "auth.cloonar.com"\nauth = "10.42.97.7:9091"\n'
)
MOVE = '[migration]\nvm = "dev"\ntemporary = "10.42.97.16"\nfinal = "10.42.97.15"\n'


def mistakes(toml: str) -> list[Mistake]:
    """Return what is wrong with a TOML spec."""
    with pytest.raises(InputError) as caught:
        parse_toml(toml)
    return list(caught.value.mistakes)


def only_fault(toml: str) -> Mistake:
    """Return the one thing that is wrong."""
    found = mistakes(toml)
    assert len(found) == 1, found
    return found[0]


def test_the_default_spec_is_the_migration() -> None:
    """fleet.toml holds the addresses that the plan names."""
    fleet = load_fleet(ROOT / "fleet.toml")
    dev = fleet.vms["dev"]
    assert (dev.mac, dev.ip) == ("52:54:00:97:00:16", IPv4Address("10.42.97.16"))
    assert dev.tap == "tap-dev"
    assert fleet.vms["openclaw"].ip == IPv4Address("10.42.97.17")
    assert fleet.migration is not None
    assert fleet.migration.final == fleet.network.hosts["dev.cloonar.com"]
    endpoint = fleet.network.services["forgejo-mcp"]
    assert (endpoint.ip, endpoint.port) == (IPv4Address("10.42.97.5"), 8090)
    assert fleet.network.client_address == IPv4Address("10.42.97.254")
    assert fleet.throwaway_vm("dev").mem == 1024
    assert "dev: memory scaled down from 16384 MiB to 1024 MiB" in fleet.scaled


def test_the_default_spec_sets_every_budget_to_its_default() -> None:
    """The file is the reference for budgets, so it must not drift from the models."""
    fleet = load_fleet(ROOT / "fleet.toml")
    assert fleet.budgets == Budgets()
    assert fleet.budgets.model_fields_set == set(Budgets.model_fields)


def test_the_committed_schema_is_the_models() -> None:
    """Renew it with `make schema`."""
    assert COMMITTED.read_text() == text()
    jsonschema.Draft202012Validator.check_schema(json.loads(text()))


def test_every_setting_says_what_is_allowed() -> None:
    """A mistake quotes the description, so each field needs one."""
    schema = json_schema()
    for model in (
        "Budgets",
        "Vm",
        "NetworkSpec",
        "LabSpec",
        "Migration",
        "Ingress",
        "Throwaway",
    ):
        for name, field in schema["$defs"][model]["properties"].items():
            assert field.get("description"), f"{model}.{name}"


def test_specs_are_frozen() -> None:
    """A suite cannot change the spec under another suite's feet."""
    fleet = parse_toml(DEV)
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        fleet.vms["dev"].mem = 1  # type: ignore[misc]


def test_all_faults_come_in_one_message_with_their_lines() -> None:
    """Six mistakes of six kinds: six lines, each with file, line, key and value."""
    toml = (
        '[network]\ngatway = "10.42.97.1"\n'
        '[vms.dev]\nmac = "53:54:00:97:00:16"\nip = "10.42.98.16"\nmem = "lots"\n'
        '[vms."a,b"]\nmac = "52:54:00:97:00:17"\nip = "10.42.97.17"\nvcpu = 0\n'
    )
    with pytest.raises(InputError) as caught:
        parse_toml(toml, "my.toml")
    message = str(caught.value)
    for part in (
        'my.toml:2: network.gatway = "10.42.97.1": no such setting; did you mean',
        'my.toml:4: vms.dev.mac = "53:54:00:97:00:16": a unicast MAC',
        'my.toml:5: vms.dev.ip = "10.42.98.16": an address inside the subnet',
        'my.toml:6: vms.dev.mem = "lots": memory in MiB',
        'my.toml:7: vms."a,b": a name of 1 to 11 characters',
        'my.toml:10: vms."a,b".vcpu = 0: number of virtual CPUs',
    ):
        assert part in message
    assert len(caught.value.mistakes) == 6


@pytest.mark.parametrize(
    ("mac", "allowed"),
    [
        ("01:00:5e:00:00:01", "unicast"),
        ("00:50:56:00:00:01", "locally administered"),
        ("52:54:00:97:00", "such as"),
        ("52:54:00:97:00:16,x=y", "such as"),
        ("52-54-00-97-00-16", "such as"),
    ],
)
def test_a_mac_is_unicast_and_local(mac: str, allowed: str) -> None:
    """Nothing that could be a real card's or a group's address."""
    mistake = only_fault(DEV.replace("52:54:00:97:00:16", mac))
    assert mistake.key == "vms.dev.mac"
    assert allowed in mistake.allowed


@pytest.mark.parametrize(
    "name", ["", "a" * 12, "Dev", "9dev", "dev-", "a,b", "a b", 'a"', "a\nb", "ä"]
)
def test_a_name_fits_an_interface_and_a_qemu_option(name: str) -> None:
    """15 bytes with the tap prefix, and no character with a meaning anywhere."""
    mistake = only_fault(DEV.replace("vms.dev", f"vms.{json.dumps(name)}"))
    assert "interface name (15 bytes)" in mistake.allowed
    assert "\n" not in str(mistake)


@pytest.mark.parametrize(
    ("ip", "allowed"),
    [
        ("10.42.98.16", "inside the subnet 10.42.97.0/24"),
        ("10.42.97.0", "neither first nor last"),
        ("10.42.97.255", "neither first nor last"),
        ("10.42.97.1", "the gateway has"),
        ("10.42.97.254", "the client has"),
        ("10.42.97.05", "an IPv4 address"),
        ("fe80::1", "an IPv4 address"),
    ],
)
def test_an_address_is_free_and_in_the_subnet(ip: str, allowed: str) -> None:
    """A machine gets an address that a host of this LAN can have."""
    mistake = only_fault(DEV.replace("10.42.97.16", ip))
    assert mistake.key == "vms.dev.ip"
    assert allowed in mistake.allowed


def test_two_vms_share_neither_mac_nor_address() -> None:
    """Both clashes are found, and name the other owner."""
    found = mistakes(DEV + DEV.replace("dev", "other"))
    assert {mistake.key for mistake in found} == {"vms.other.mac", "vms.other.ip"}
    assert all("VM dev has" in mistake.allowed for mistake in found)


def test_macs_clash_whatever_their_case() -> None:
    """Upper and lower case write the same MAC."""
    other = '[vms.other]\nmac = "02:AB:00:00:00:01"\nip = "10.42.97.17"\n'
    found = mistakes(DEV.replace("52:54:00:97:00:16", "02:ab:00:00:00:01") + other)
    assert [mistake.key for mistake in found] == ["vms.other.mac"]


def test_a_service_has_an_address_of_its_own() -> None:
    """The gateway or a VM cannot also be a service host."""
    services = '[network.services]\na = "10.42.97.1:80"\nb = "10.42.97.16:80"\n'
    keys = {mistake.key for mistake in mistakes(services + DEV)}
    assert keys == {"network.services.a", "vms.dev.ip"}


@pytest.mark.parametrize(
    ("old", "new", "key", "allowed"),
    [
        ('vm = "dev"', 'vm = "devv"', "migration.vm", "a VM under [vms]"),
        ("10.42.97.15", "10.42.97.16", "migration.final", "not the temporary"),
        ("10.42.97.15", "10.42.99.15", "migration.final", "inside the subnet"),
        ("10.42.97.15", "10.42.97.1", "migration.final", "the gateway has it"),
        ('temporary = "10.42.97.16"', 'temporary = "10.42.97.18"', "vms.dev.ip", "one"),
    ],
)
def test_a_migration_moves_a_vm_between_free_addresses(
    old: str, new: str, key: str, allowed: str
) -> None:
    """Each way in which the two addresses or the VM can be wrong."""
    mistake = only_fault(DEV + MOVE.replace(old, new))
    assert mistake.key == key
    assert allowed in mistake.allowed


@pytest.mark.parametrize(
    ("old", "new", "key", "allowed"),
    [
        ("10.42.97.6", "10.42.98.6", "ingress.ip", "inside the subnet"),
        ("10.42.97.6", "10.42.97.1", "ingress.ip", "the gateway has"),
        ("10.42.97.6", "10.42.97.15", "migration.final", "the ingress has it"),
        ("10.42.97.7", "10.42.97.6", "ingress.auth", "the ingress has"),
        ("10.42.97.7", "10.42.97.16", "vms.dev.ip", "the auth service has"),
        ("auth.cloonar", "auth.example", "ingress.portal", "name in cloonar.com"),
        ("auth.cloonar", "lab.cloonar", "ingress.portal", "another name"),
    ],
)
def test_an_ingress_has_addresses_of_its_own_and_one_domain(
    old: str, new: str, key: str, allowed: str
) -> None:
    """Each way in which the web VM does not fit the rest."""
    found = mistakes(DEV + MOVE + DOOR.replace(old, new))
    assert key in {mistake.key for mistake in found}
    assert any(allowed in mistake.allowed for mistake in found), found


def test_lab_changes_with_every_step() -> None:
    """A change without {step} would make the second switch change nothing."""
    mistake = only_fault(DEV + '[lab]\nchange = "x = 1;"\n')
    assert "{step}" in mistake.allowed
    lab = parse_toml(DEV + '[lab]\nchange = "x = {step};"\n').lab
    assert "x = 7;" in lab.changed(7)
    assert lab.name == "lab"


def test_a_name_in_a_fault_cannot_break_its_line() -> None:
    """Known names are quoted in mistakes, and may hold anything at that point."""
    found = mistakes('[vms."\\r0"]\n' + MOVE)
    assert "\\r0" in found[0].allowed
    assert all(str(mistake).isprintable() for mistake in found)


def test_the_vm_to_retire_may_hold_the_final_address() -> None:
    """Until the swap the old VM has it: no clash."""
    old = '[vms.dev-old]\nmac = "52:54:00:97:00:15"\nip = "10.42.97.15"\n'
    assert "dev-old" in parse_toml(DEV + old + MOVE).vms


@pytest.mark.parametrize(
    ("user_data", "allowed"),
    [
        ("packages: [tmux]", "must start with one of"),
        ("#cloud-config\n- a list", "a YAML mapping"),
        ("#cloud-config\na: [", "valid YAML"),
        ("#!/bin/sh\n\x00", "control"),
    ],
)
def test_user_data_that_cloud_init_would_ignore_is_refused(
    user_data: str, allowed: str
) -> None:
    """cloud-init only warns in its log; here it is a mistake, without the content."""
    mistake = only_fault(f"{DEV}cloudInit = {{userData = {json.dumps(user_data)}}}\n")
    assert mistake.key == "vms.dev.cloudInit.userData"
    assert allowed in mistake.allowed
    assert mistake.value == ""


def test_a_line_is_found_behind_multi_line_values() -> None:
    """Quoted text that looks like TOML does not fool the line count."""
    toml = (
        DEV
        + 'cloudInit.userData = """#!/bin/sh\n[vms.dev]\nmem = 1\n"""\n\n# a comment\n'
        + "mem = 1\n"
    )
    assert only_fault(toml).where == "fleet.toml:10"


def test_nix_json_takes_the_rest_from_a_file_beside_it(tmp_path: Path) -> None:
    """Faults then name the file that each value came from."""
    vm = {"mac": "52:54:00:97:00:16", "ip": "10.1.1.16", "cpuWeight": None}
    vms = tmp_path / "vms.json"
    vms.write_text(json.dumps({"dev": vm}))
    with pytest.raises(InputError, match=r"vms\.json: vms\.dev\.ip .* the subnet"):
        load_fleet(vms)
    beside = tmp_path / "fleet.toml"
    beside.write_text('[network]\nsubnet = "10.1.1.0/24"\ngateway = "10.1.1.1"\n')
    assert load_fleet(vms).vms["dev"].ip == IPv4Address("10.1.1.16")
    beside.write_text('[network]\nsubnet = "10.1.1.0/24"\ngateway = "10.1.2.1"\n')
    with pytest.raises(InputError, match=r"fleet\.toml:3: network\.gateway"):
        load_fleet(vms)


def test_a_key_that_stands_twice_in_json_is_a_fault() -> None:
    """Python would silently keep the last one."""
    with pytest.raises(InputError, match="stands twice"):
        parse_nix_json('{"dev": {}, "dev": {}}')


@pytest.mark.parametrize(
    ("content", "allowed"),
    [
        (None, "a readable file"),
        (b"\xff\xfe", "UTF-8"),
        (b"#" * (4 * 2**20 + 1), "at most"),
        (b"a = ", "valid TOML"),
    ],
)
def test_a_file_that_is_no_spec_is_a_fault(
    tmp_path: Path, content: bytes | None, allowed: str
) -> None:
    """Missing, binary, endless or broken: always the same kind of message."""
    path = tmp_path / "fleet.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=allowed):
        load_fleet(path)


def test_a_file_of_another_kind_is_a_fault(tmp_path: Path) -> None:
    """The suffix decides how to read, so it must be known."""
    with pytest.raises(InputError, match=r"\*\.toml or \*\.json"):
        load_fleet(tmp_path / "fleet.yaml")
