"""Disks and seeds as files."""

from __future__ import annotations

import io
import json
from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING

import pycdlib
import pytest
import yaml

from harness.errors import HarnessError, InputError
from harness.fleet import CloudInit, Vm
from harness.process import run
from harness.qemu import disk, seed
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

    from harness.deadline import Deadline

GATEWAY = IPv4Interface("10.42.97.1/24")


def vm(**changes: object) -> Vm:
    """Make a VM of the spec."""
    facts: dict[str, object] = {
        "name": "dev",
        "mac": "52:54:00:97:00:16",
        "ip": IPv4Address("10.42.97.16"),
        **changes,
    }
    return Vm.model_validate(facts)


def soon() -> Deadline:
    """Give up after 20 s."""
    return patient(20, "the test")


# Disk -------------------------------------------------------------------------------


def test_an_overlay_is_grown_and_stands_on_its_base(
    directory: Path, sector: Path
) -> None:
    """The guest sees diskSizeG; the base stays untouched."""
    before = sector.read_bytes()
    disk.overlay(directory / "disk.qcow2", sector, soon(), size_g=3)
    assert disk.virtual_size(directory / "disk.qcow2", soon()) == 3 << 30
    argv = ["qemu-img", "info", "--output=json", str(directory / "disk.qcow2")]
    facts = json.loads(run(argv, deadline=soon()).check().stdout)
    assert facts["full-backing-filename"] == str(sector)
    assert facts["backing-filename-format"] == "qcow2"
    assert sector.read_bytes() == before


def test_an_existing_disk_is_never_overwritten(directory: Path, sector: Path) -> None:
    """It may be all that is left of a machine."""
    path = directory / "disk.qcow2"
    path.write_text("precious")
    with pytest.raises(HarnessError, match="there is a disk already"):
        disk.overlay(path, sector, soon())
    assert path.read_text() == "precious"


def test_a_disk_smaller_than_its_image_is_refused(directory: Path) -> None:
    """It would cut the file system off."""
    base = directory / "base.qcow2"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", str(base), "2G"]
    run(argv, deadline=soon()).check()
    with pytest.raises(HarnessError, match="diskSizeG = 1 is smaller"):
        disk.overlay(directory / "disk.qcow2", base, soon(), size_g=1)
    assert not (directory / "disk.qcow2").exists()


def test_a_sparse_copy_has_the_same_holes(tmp_path: Path) -> None:
    """A gigabyte of RAM that is mostly empty stays cheap."""
    source, target = tmp_path / "ram", tmp_path / "copy"
    with source.open("wb") as ram:
        ram.write(b"head")
        ram.truncate(1 << 30)
    disk.copy_sparse(source, target, soon())
    assert target.stat().st_size == 1 << 30
    assert target.stat().st_blocks * 512 < 1 << 20
    with target.open("rb") as copied:
        assert copied.read(4) == b"head"


def test_a_relative_overlay_is_found_after_both_were_moved(tmp_path: Path) -> None:
    """Its base is named as seen from its own directory."""
    home = tmp_path / "cache"
    (home / "a").mkdir(parents=True)
    (home / "b").mkdir()
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", str(home / "a/disk"), "1M"]
    run(argv, deadline=soon()).check()
    disk.overlay(home / "b/disk", home / "a/disk", soon(), relative=True)
    moved = home.rename(tmp_path / "elsewhere")
    (found,) = disk.backing(moved / "b/disk", soon())
    assert found.resolve() == moved / "a/disk"


def test_a_copied_disk_keeps_base_and_snapshots_wherever_it_is(tmp_path: Path) -> None:
    """One that is saved with its RAM inside is copied, not overlaid."""
    base, saved, run_dir = (tmp_path / f"cache/{n}" for n in ("a", "b", "c"))
    for directory in (base, saved, run_dir, tmp_path / "run"):
        directory.mkdir(parents=True)
    create = ["qemu-img", "create", "-q", "-f", "qcow2", str(base / "disk"), "1M"]
    run(create, deadline=soon()).check()
    disk.overlay(saved / "disk", base / "disk", soon(), relative=True)
    snapshot = ["qemu-img", "snapshot", "-c", "saved", str(saved / "disk")]
    run(snapshot, deadline=soon()).check()
    for target in (tmp_path / "run/disk", run_dir / "disk"):
        disk.copy(saved / "disk", target, soon())
        assert [p.resolve() for p in disk.backing(target, soon())] == [base / "disk"]
        argv = ["qemu-img", "snapshot", "-l", str(target)]
        assert "saved" in run(argv, deadline=soon()).check().stdout
        run(["qemu-img", "check", "-q", str(target)], deadline=soon()).check()


# Seed -------------------------------------------------------------------------------


def files_on(path: Path) -> dict[str, str]:
    """Read an ISO's files by their Joliet names."""
    iso = pycdlib.PyCdlib()
    iso.open(str(path))
    try:
        assert iso.pvd.volume_identifier.decode().strip() == "CIDATA"
        found = {}
        for child in iso.list_children(joliet_path="/"):
            if child.is_dir():
                continue
            name = child.file_identifier().decode("utf-16-be")
            data = io.BytesIO()
            iso.get_file_from_iso_fp(data, joliet_path=f"/{name}")
            found[name] = data.getvalue().decode()
        return found
    finally:
        iso.close()


def test_the_seed_has_what_nocloud_wants(tmp_path: Path) -> None:
    """Label CIDATA; three files, in names and content as they went in."""
    files = seed.contents(vm(), GATEWAY)
    seed.write(tmp_path / "seed.iso", files)
    assert files_on(tmp_path / "seed.iso") == files
    assert set(files) == {"meta-data", "user-data", "network-config"}
    assert files["user-data"].startswith("#cloud-config\n")
    assert [path.name for path in tmp_path.iterdir()] == ["seed.iso"]


def test_the_derived_network_is_static_and_matched_by_mac() -> None:
    """Version 2, with a default route that every renderer understands."""
    config = yaml.safe_load(seed.network_config(vm(), GATEWAY))
    assert config["version"] == 2
    assert config["ethernets"]["lan"] == {
        "match": {"macaddress": "52:54:00:97:00:16"},
        "addresses": ["10.42.97.16/24"],
        "routes": [{"to": "0.0.0.0/0", "via": "10.42.97.1"}],
        "nameservers": {"addresses": ["10.42.97.1"]},
    }


def test_what_the_spec_says_goes_in_unchanged() -> None:
    """Own user-data and network-config replace the derived ones."""
    init = CloudInit(user_data="#!/bin/sh\ntrue\n", network_config="version: 1\n")
    files = seed.contents(vm(cloud_init=init), GATEWAY)
    assert files["user-data"] == "#!/bin/sh\ntrue\n"
    assert files["network-config"] == "version: 1\n"


def test_the_instance_id_is_the_machines_own_and_stays() -> None:
    """New user-data is no new instance; another MAC is."""
    same = vm(cloud_init=CloudInit(user_data="#!/bin/sh\n"), mem=4096)
    assert seed.instance_id(vm()) == seed.instance_id(same)
    assert seed.instance_id(vm()) != seed.instance_id(vm(mac="52:54:00:97:00:17"))
    assert seed.instance_id(vm()) != seed.instance_id(vm(name="dev2"))


@pytest.mark.parametrize(
    "text",
    ["-----BEGIN OPENSSH PRIVATE KEY-----", "AGE-SECRET-KEY-1QQQQ"],
)
def test_a_private_key_is_refused(text: str) -> None:
    """The seed lies about on disks; it is no place for secrets."""
    config = f"#cloud-config\nwrite_files: [{{content: '{text}'}}]\n"
    init = CloudInit(user_data=config)
    with pytest.raises(InputError, match="private key") as caught:
        seed.contents(vm(cloud_init=init), GATEWAY)
    assert text not in str(caught.value)
