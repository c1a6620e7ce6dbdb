"""`inodes-within-budget`: what no collector can mend, seen at one glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness import Budgets, Machine, Recorder

pytestmark = [
    pytest.mark.criterion("inodes-within-budget"),
    pytest.mark.stage("onboarded"),
]


def test_file_systems_suit_a_store(
    dev: Machine, check: Recorder, budgets: Budgets
) -> None:
    """The ratio is fixed for life when the disk is made, and onboarding leaves none."""
    for mount, sample in dev.inodes.sample("/", "/nix").items():
        check.check(
            "bytes per inode fit a Nix store",
            sample.bytes_per_inode <= budgets.bytes_per_inode_max,
            f"{mount}: one inode per {sample.bytes_per_inode:.0f} bytes, "
            f"budget {budgets.bytes_per_inode_max}",
        )
        check.check(
            "share of inodes in use",
            sample.share <= budgets.inode_share,
            f"{mount}: {sample.used} of {sample.total} ({sample.share:.0%}), "
            f"budget {budgets.inode_share:.0%}",
        )
    leftovers = dev.inodes.census(depth=1).leftovers
    check.check(
        "nothing of the old root is left",
        not leftovers,
        ", ".join(f"{path}: {count} inodes" for path, count in leftovers.items()),
    )
