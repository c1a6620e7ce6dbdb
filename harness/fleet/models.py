"""The frozen models a fleet spec is made of.

Field names follow Python, aliases are the option names of the `cloonar.vms` module, and
files use only aliases. Reported mistakes quote the descriptions, so each states the
allowed values with their unit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from harness.facts import Limit
from harness.fleet.cloudinit import check_network_config, check_user_data
from harness.fleet.crosscheck import crosscheck
from harness.fleet.fields import (
    HOST_PATTERN,
    NAME_PATTERN,
    NAME_RULE,
    TAP_PREFIX,
    Address,
    Mac,
    Matching,
    Service,
    Subnet,
)

CROSS_CHECK = "cross_check"  # type of the error that joins all cross checks

Name = Annotated[str, Matching(NAME_PATTERN, NAME_RULE)]
HostName = Annotated[
    str,
    Matching(
        HOST_PATTERN,
        "a DNS name in lower case such as dev.cloonar.com, no dot at its end",
    ),
]
UnitName = Annotated[
    str,
    Matching(
        r"^[A-Za-z0-9][A-Za-z0-9:_.@-]{0,240}\.service$",
        'the name of a systemd service such as "lab.service"',
    ),
]
UserName = Annotated[
    str,
    Matching(
        r"^[a-z_][a-z0-9_-]{0,31}$",
        "a user name of 1 to 32 characters a-z, 0-9, _ and -, a letter or _ first",
    ),
]
Change = Annotated[
    str,
    Matching(
        r"^[\s\S]*\{step\}[\s\S]*$",
        "Nix settings with {step} in them, so that no two switches are the same",
    ),
]
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


class FleetModel(BaseModel):
    """The base of all parts: frozen, and strict about unknown settings."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_alias=True,
        validate_by_name=True,
        use_attribute_docstrings=True,
    )


class CloudInit(FleetModel):
    """What cloud-init finds on the seed ISO; empty means the derived default."""

    user_data: Annotated[str, AfterValidator(check_user_data)] = Field(
        "", alias="userData"
    )
    """cloud-init user-data with its header line, or empty for the derived default"""
    network_config: Annotated[str, AfterValidator(check_network_config)] = Field(
        "", alias="networkConfig"
    )
    """cloud-init network-config (version 1 or 2), or empty for a static address"""


def _name_comes_from_the_key(schema: dict[str, Any]) -> None:
    schema["required"].remove("name")


class Vm(FleetModel):
    """One VM, with the options of the module."""

    model_config = ConfigDict(json_schema_extra=_name_comes_from_the_key)

    name: Name
    """the key under [vms]"""
    mac: Mac
    """a unicast, locally administered MAC address such as 52:54:00:97:00:16"""
    ip: Address
    """an IPv4 address inside the subnet"""
    mem: Whole = Field(2048, ge=128, le=4 * 2**20)
    """memory in MiB, a whole number from 128 to 4194304"""
    vcpu: Whole = Field(2, ge=1, le=255)
    """number of virtual CPUs, a whole number from 1 to 255"""
    disk_size_g: Whole = Field(20, alias="diskSizeG", ge=1, le=65536)
    """disk size in GiB, a whole number from 1 to 65536"""
    autostart: bool = Field(default=True, strict=True)
    """whether the unit starts with the host, true or false"""
    cpu_weight: Whole | None = Field(None, alias="cpuWeight", ge=1, le=10000)
    """systemd CPUWeight, a whole number from 1 to 10000; absent leaves systemd's 100"""
    cloud_init: CloudInit = Field(CloudInit(), alias="cloudInit")
    """user-data and network-config of the first boot"""

    @property
    def tap(self) -> str:
        """Name of the VM's interface on the host, at most 15 bytes."""
        return TAP_PREFIX + self.name


class NetworkSpec(FleetModel):
    """The LAN that the VMs live in, and who else lives there."""

    subnet: Subnet = IPv4Network("10.42.97.0/24")
    """an IPv4 subnet such as 10.42.97.0/24, /8 to /28"""
    gateway: Address = IPv4Address("10.42.97.1")
    """the IPv4 address of the gateway (fw) inside the subnet"""
    client: Address | None = None
    """the LAN client's IPv4 address; absent takes the last one of the subnet"""
    hosts: dict[HostName, Address] = {}
    """what the gateway's dnsmasq serves: DNS name = IPv4 address"""
    services: dict[Name, Service] = {}
    """hosts that VMs must reach: name = "address:port", an address each"""

    @property
    def client_address(self) -> IPv4Address:
        """The address that the LAN client has."""
        return self.client or self.subnet.broadcast_address - 1


class LabSpec(FleetModel):
    """The service whose sessions must survive."""

    unit: UnitName = "lab.service"
    """the name of a systemd service such as lab.service"""
    user: UserName = "lab"
    """the user that sessions run as"""
    port: Whole = Field(8080, ge=1, le=65535)
    """the TCP port of its web page, a whole number from 1 to 65535"""
    change: Change = 'systemd.services.lab.environment.ACCEPTANCE_STEP = "{step}";'
    """Nix settings that make lab run something else; {step} is a number"""

    @property
    def name(self) -> str:
        """The unit's name under `systemd.services`."""
        return self.unit.removesuffix(".service")

    def changed(self, step: int, *, also: str = "") -> str:
        """Return a NixOS module that changes what lab runs, and what else it says."""
        settings = self.change.replace("{step}", str(step))
        return f"{{ lib, pkgs, ... }}: {{\n  {settings}\n  {also}\n}}"


class Migration(FleetModel):
    """The VM that is validated on a temporary address and then swapped."""

    vm: str
    """the name of a VM under [vms]"""
    temporary: Address
    """the IPv4 address used until the swap"""
    final: Address
    """the IPv4 address used after the swap"""


class Ingress(FleetModel):
    """The web VM, the public way to lab: it asks for a login before it lets in."""

    name: HostName
    """the public DNS name of lab, such as lab.cloonar.com"""
    ip: Address
    """the IPv4 address of the web VM inside the subnet"""
    portal: HostName
    """the DNS name of the login page, in the same domain as name"""
    auth: Service
    """where the authentication service listens, "address:port" inside the subnet"""


class Budgets(FleetModel):
    """Every threshold that a suite uses; the unit is in the name."""

    model_config = ConfigDict(validate_default=True)

    heartbeat_gap_ms: Number = 3000
    """longest silence of a session's 100 ms heartbeat during a switch, milliseconds"""
    switch_lab_outage_s: Number = 15
    """longest time lab may be down while a switch restarts it, seconds"""
    session_reach_s: Number = 5
    """longest time until a typed line shows on a session's screen, seconds"""
    reboot_s: Number = 120
    """longest time from the reboot command until the guest takes commands, seconds"""
    boot_free_factor: Number = 2
    """free space on the file system of /boot, in sizes of one generation's kernel and
    initrd"""
    swap_outage_s: Number = 30
    """longest time the final address may be silent during the swap, seconds"""
    swap_rollback_s: Number = 60
    """longest time the final address may be silent while going back, seconds"""
    neighbour_convergence_s: Number = 10
    """longest time until all neighbours know the new MAC after the swap, seconds"""
    dns_ttl_s: Number = 60
    """longest time to live of a DNS answer for a VM, seconds"""
    cpu_share_error: Annotated[Number, Field(le=1)] = 0.25
    """largest error of the ratio of two contending VMs' CPU time to that of their
    weights, above 0 and up to 1"""
    inode_share: Annotated[Number, Field(le=1)] = 0.5
    """largest share of a file system's inodes in use, above 0 and up to 1"""
    inode_growth_per_cycle: Number = 500
    """largest fitted growth in inodes per switch + GC cycle"""
    bytes_per_inode_max: Number = 16384
    """largest bytes-per-inode ratio of a file system with a Nix store, bytes"""
    inode_generations_headroom: Number = 20
    """how many more generations must fit in the free inodes, generations"""
    memory_kept_mib: Number = 128
    """largest part of `mem` that firmware and kernel keep for themselves, MiB"""
    disk_overhead_mib: Number = 640
    """largest part of the disk that is partition table, /boot and gaps, MiB"""
    disk_root_share: Annotated[Number, Field(le=1)] = 0.95
    """smallest share of the disk, less its overhead, that the root file system has"""
    unit_stop_s: Number = 30
    """shortest TimeoutStopSec= of an adopted unit, in which its guest ends, seconds"""
    console_answer_s: Number = 30
    """longest time until the serial console answers Enter (times patience), seconds"""
    first_boot_ssh_s: Number = 30
    """longest time until ssh answers after the first NixOS boot (times patience),
    seconds"""
    cleanup_share: Annotated[Number, Field(le=1)] = 0.9
    """smallest share of /old-root's inodes and bytes that its removal gives back"""
    clock_error_s: Number = 3
    """largest difference between a bystander's uptime and the host's clock, seconds"""

    @field_validator("*")
    @classmethod
    def _know_its_name(cls, value: float, info: ValidationInfo) -> Limit:
        """Have each threshold carry its name and unit into the checks that use it."""
        return Limit(value, str(info.field_name))


class Throwaway(FleetModel):
    """What a throwaway machine gets at most of what its VM has."""

    mem: Whole = Field(1024, ge=128)
    """most memory of a throwaway machine in MiB, a whole number from 128"""
    vcpu: Whole = Field(2, ge=1)
    """most virtual CPUs of a throwaway machine, a whole number from 1"""
    disk_size_g: Whole = Field(8, alias="diskSizeG", ge=1)
    """largest disk of a throwaway machine in GiB, a whole number from 1"""


class Fleet(FleetModel):
    """A whole spec: the network, its VMs, what moves, and the budgets it must hold."""

    model_config = ConfigDict(title="Fleet spec of the VM acceptance harness")

    network: NetworkSpec = NetworkSpec()
    vms: dict[str, Vm] = Field(
        min_length=1, json_schema_extra={"propertyNames": {"pattern": NAME_PATTERN}}
    )
    """one table per VM, at least one"""
    lab: LabSpec = LabSpec()
    migration: Migration | None = None
    ingress: Ingress | None = None
    budgets: Budgets = Budgets()
    throwaway: Throwaway = Throwaway()

    @model_validator(mode="before")
    @classmethod
    def _name_the_vms(cls, data: object) -> object:
        """Give each VM the name that it stands under."""
        if not isinstance(data, Mapping) or not isinstance(data.get("vms"), Mapping):
            return data
        named = {
            key: {"name": key, **vm} if isinstance(vm, Mapping) else vm
            for key, vm in data["vms"].items()
        }
        return {**data, "vms": named}

    @model_validator(mode="after")
    def _cross_checked(self) -> Self:
        """Refuse parts that do not fit together; the loader lists each on its own."""
        mistakes = crosscheck(self.model_dump(mode="json", by_alias=True))
        if mistakes:
            text = "; ".join(f"{'.'.join(f.at)}: {f.allowed}" for f in mistakes)
            raise PydanticCustomError(CROSS_CHECK, "{text}", {"text": text})
        return self

    @property
    def digest(self) -> str:
        """SHA-256 over everything in the spec, defaults included."""
        plain = self.model_dump(mode="json", by_alias=True)
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def autostarted(self) -> tuple[str, ...]:
        """Names of the VMs that come up with their host, in the spec's order."""
        return tuple(name for name, vm in self.vms.items() if vm.autostart)

    @property
    def addresses(self) -> frozenset[IPv4Address]:
        """Every address that a VM or the web VM has or gets; a site uses no other's."""
        taken = {vm.ip for vm in self.vms.values()}
        if self.migration:
            taken |= {self.migration.temporary, self.migration.final}
        if self.ingress:
            taken |= {self.ingress.ip, self.ingress.auth.ip}
        return frozenset(taken)

    def throwaway_vm(self, name: str) -> Vm:
        """Return the VM scaled down to the caps of [throwaway]."""
        vm, most = self.vms[name], self.throwaway
        return vm.model_copy(
            update={
                "mem": min(vm.mem, most.mem),
                "vcpu": min(vm.vcpu, most.vcpu),
                "disk_size_g": min(vm.disk_size_g, most.disk_size_g),
            }
        )

    @property
    def scaled(self) -> list[str]:
        """One sentence per VM and value that [throwaway] scales down."""
        sentences = []
        for name, vm in self.vms.items():
            small = self.throwaway_vm(name)
            sentences += [
                f"{name}: {what} scaled down from {full} to {used}"
                for what, full, used in (
                    ("memory", f"{vm.mem} MiB", f"{small.mem} MiB"),
                    ("vcpu", f"{vm.vcpu}", f"{small.vcpu}"),
                    ("disk", f"{vm.disk_size_g} GiB", f"{small.disk_size_g} GiB"),
                )
                if full != used
            ]
        return sentences
