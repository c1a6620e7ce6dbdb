"""The cloud-init seed: a small ISO 9660 image, label CIDATA (data source NoCloud)."""

from __future__ import annotations

import hashlib
import io
import json
from typing import TYPE_CHECKING

import pycdlib

from harness.errors import InputError, Mistake

if TYPE_CHECKING:
    from ipaddress import IPv4Interface
    from pathlib import Path

    from harness.fleet import Vm

# NoCloud wants exactly these names; ISO 9660 itself has no lower case, so they are
# carried by Rock Ridge and Joliet.
_NAMES = {
    "meta-data": "/METADATA.;1",
    "user-data": "/USERDATA.;1",
    "network-config": "/NETCONF.;1",
}


def contents(vm: Vm, gateway: IPv4Interface) -> dict[str, str]:
    """Return what the seed of a VM holds, by file name.

    The instance-id stays the same for the same VM, so that a new seed does not make
    cloud-init start over. Raises InputError if a private key would get in.
    """
    files = {
        "meta-data": json.dumps(
            {"instance-id": instance_id(vm), "local-hostname": vm.name}, indent=1
        )
        + "\n",
        "user-data": vm.cloud_init.user_data or "#cloud-config\n{}\n",
        "network-config": vm.cloud_init.network_config or network_config(vm, gateway),
    }
    mistakes = [
        Mistake(
            "seed", f"{vm.name}: {name}", "", "no private key; the guest makes its own"
        )
        for name, text in files.items()
        if "PRIVATE KEY" in text or "AGE-SECRET-KEY" in text
    ]
    if mistakes:
        raise InputError("the seed would carry a private key", mistakes)
    return files


def instance_id(vm: Vm) -> str:
    """Name the instance by what makes it another machine: its name and its MAC."""
    digest = hashlib.sha256(f"{vm.name} {vm.mac}".encode()).hexdigest()
    return f"{vm.name}-{digest[:12]}"


def network_config(vm: Vm, gateway: IPv4Interface) -> str:
    """Return a version 2 network-config: one static address, matched by MAC.

    The default route is written as 0.0.0.0/0, which every renderer of cloud-init
    understands; `default` is netplan's alone. `gateway` carries the prefix length.
    """
    router = str(gateway.ip)
    lan = {
        "match": {"macaddress": vm.mac},
        "addresses": [f"{vm.ip}/{gateway.network.prefixlen}"],
        "routes": [{"to": "0.0.0.0/0", "via": router}],
        "nameservers": {"addresses": [router]},
    }
    return json.dumps({"version": 2, "ethernets": {"lan": lan}}, indent=1) + "\n"


def write(path: Path, files: dict[str, str]) -> None:
    """Write the ISO; whole or not at all."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="CIDATA")
    try:
        for name, text in files.items():
            data = text.encode()
            iso.add_fp(
                io.BytesIO(data),
                len(data),
                _NAMES[name],
                rr_name=name,
                joliet_path=f"/{name}",
            )
        partial = path.with_name(path.name + ".partial")
        iso.write(str(partial))
    finally:
        iso.close()
    partial.rename(path)
