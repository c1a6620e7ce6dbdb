"""The inodes view on this computer's own file systems."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from harness.guest import inodes
from harness.guest.inodes import Inodes, InodeSample
from harness.guest.script import parse

if TYPE_CHECKING:
    from pathlib import Path

    from tests.guest.conftest import LocalGuest


def test_a_sample_is_what_statvfs_says(guest: LocalGuest, tmp_path: Path) -> None:
    """Totals and sizes are those of the file system; what is missing is left out."""
    sample = Inodes(guest).sample(str(tmp_path), "/does/not/exist")
    assert list(sample) == [str(tmp_path)]
    one, facts = sample[str(tmp_path)], os.statvfs(tmp_path)
    assert one.total == facts.f_files
    assert one.size_bytes == facts.f_blocks * facts.f_frsize
    assert one.at > 0


def test_shares_and_ratios() -> None:
    """A file system without a fixed number of inodes runs out of none."""
    text = (
        "\x1euptime\n5.0\n"
        "\x1efilesystems\n1000 250 4096 4000 1000 ext2/ext3 /nix store\n"
        "0 0 4096 9 9 btrfs /\n\x1eend\n"
    )
    sample = inodes.parse_sample(parse("inodes.sh", text))
    nix = sample["/nix store"]
    assert (nix.used, nix.share) == (750, 0.75)
    assert nix.bytes_per_inode == 16384
    assert nix.free_bytes == 4096000
    assert sample["/"].share == 0
    assert sample["/"].bytes_per_inode == float("inf")
    assert isinstance(nix, InodeSample)


def test_a_census_counts_directories(guest: LocalGuest, tmp_path: Path) -> None:
    """Directories come most first, and a leftover would be named."""
    for name, count in (("many", 9), ("few", 2)):
        (tmp_path / "root" / name).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "root" / name / str(number)).touch()
    root = str(tmp_path / "root")
    census = Inodes(guest).census(root, depth=1)
    assert census.directories == {root: 14, f"{root}/many": 10, f"{root}/few": 3}
    assert next(iter(census.directories)) == root
    text = "\x1ecensus\n\x1eleftovers\n126000\t/old-root\n\x1eend\n"
    assert inodes.parse_census(parse("census.sh", text)).leftovers == {
        "/old-root": 126000
    }


@pytest.mark.parametrize(
    ("values", "rise"),
    [
        ([5, 5, 5], 0),
        ([0, 10, 20, 30], 10),
        ([100, 90], -10),
        ([0, 2, 0, 2, 0, 2], 0.17),
    ],
)
def test_the_slope_of_a_fitted_line(values: list[float], rise: float) -> None:
    """Noise is averaged out, a trend is not."""
    assert inodes.slope(values) == pytest.approx(rise, abs=0.01)


def test_one_value_has_no_slope() -> None:
    """A trend needs two values."""
    with pytest.raises(ValueError, match="at least two data points"):
        inodes.slope([1.0])
