"""The manifest: versions, file names and figures, as the tools print them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reference.manifest import (
    deb_names,
    parse_packages,
    resolved,
    summary,
    tool_version,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_packages_are_sorted_and_broken_lines_dropped() -> None:
    """The same packages give the same digest in any order."""
    text = "b\t1\tall\na\t2:3\tamd64\nnonsense\n"
    assert parse_packages(text) == [["a", "2:3", "amd64"], ["b", "1", "all"]]


def test_package_files_are_named_as_apt_names_them(tmp_path: Path) -> None:
    """The colon of an epoch is written %3a; the pool's names come as they are."""
    (tmp_path / "packages.tsv").write_text("a\t2:3~x\tamd64\n")
    (tmp_path / "pool.txt").write_text("z_1_all.deb\n")
    resolution = resolved(tmp_path)
    assert resolution["pool"] == ["z_1_all.deb"]
    assert deb_names(resolution) == {"a_2%3a3~x_amd64.deb", "z_1_all.deb"}


def test_an_image_without_the_nixos_half_has_no_pool(tmp_path: Path) -> None:
    """The file is only there when the pool was fetched."""
    (tmp_path / "packages.tsv").write_text("a\t1\tall\n")
    assert resolved(tmp_path)["pool"] == []


def test_tools_say_their_version_in_many_ways() -> None:
    """A tool that does not say is named unknown, not an error."""
    assert tool_version("sfdisk from util-linux 2.38.1\n") == "2.38.1"
    assert tool_version("qemu-img version 7.2.22 (Debian 1:7.2)") == "7.2.22"
    assert tool_version("") == "unknown"


def test_the_summary_counts_packages_bytes_and_inodes() -> None:
    """One line for the person who waited."""
    root = {"bytes_used": 3 << 20, "inodes_used": 7}
    manifest = {
        "resolved": {"packages": [["a", "1", "all"]]},
        "file_systems": {"root": root},
    }
    assert summary(manifest) == "1 packages, 3 MiB in 7 inodes on /"
