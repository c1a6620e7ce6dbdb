"""`inodes-within-budget`: decided over switch + GC cycles, by what statvfs says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import NotExercised, slope
from suites.inodes.deployments import FILES, deployment

if TYPE_CHECKING:
    from harness import Budgets, InodeSample, Machine, Recorder

pytestmark = [
    pytest.mark.criterion("inodes-within-budget"),
    pytest.mark.stage("onboarded"),
    pytest.mark.disruptive,
]

_CYCLES = 8


def test_inodes_over_switch_and_gc_cycles(
    dev: Machine, check: Recorder, budgets: Budgets
) -> None:
    """Every cycle deploys a package of many files and collects the one before."""
    dev.store.collect_garbage("-d")
    full: list[dict[str, InodeSample]] = []
    rest: list[dict[str, InodeSample]] = [dev.inodes.sample("/", "/nix")]
    for cycle in range(1, _CYCLES + 1):
        dev.system.rebuild("switch", deployment(cycle))
        full.append(dev.inodes.sample("/", "/nix"))
        dev.store.collect_garbage("-d")
        rest.append(dev.inodes.sample("/", "/nix"))
    _must_have_churned(full, rest)
    for mount in ("/", "/nix"):
        _judge(
            check, budgets, mount, [s[mount] for s in rest], [s[mount] for s in full]
        )

    leftovers = dev.inodes.census(depth=1).leftovers
    check.check(
        "nothing of the old root is left",
        not leftovers,
        ", ".join(f"{path}: {count} inodes" for path, count in leftovers.items()),
    )
    generations = dev.system.generations()
    check.check(
        "old generations are collected",
        len(generations) == 1,
        f"{len(generations)} generations after `nix-collect-garbage -d`",
    )


def _judge(
    check: Recorder,
    budgets: Budgets,
    mount: str,
    rest: list[InodeSample],
    full: list[InodeSample],
) -> None:
    """Hold one file system to its share, its growth, its ratio and its head-room."""
    last = rest[-1]
    check.check(
        "share of inodes in use",
        last.share <= budgets.inode_share,
        f"{mount}: {last.used} of {last.total} ({last.share:.0%}), "
        f"budget {budgets.inode_share:.0%}",
    )
    # The first sample still has what onboarding built and no cycle makes again.
    growth = slope([sample.used for sample in rest[1:]])
    check.check(
        "growth per cycle",
        growth <= budgets.inode_growth_per_cycle,
        f"{mount}: {growth:+.1f} inodes per cycle over {len(rest) - 1} cycles, "
        f"budget {budgets.inode_growth_per_cycle}",
    )
    check.check(
        "bytes per inode fit a Nix store",
        last.bytes_per_inode <= budgets.bytes_per_inode_max,
        f"{mount}: one inode per {last.bytes_per_inode:.0f} bytes, "
        f"budget {budgets.bytes_per_inode_max}",
    )
    generation = max(f.used - r.used for f, r in zip(full, rest[1:], strict=True))
    room = last.free / generation if generation > 0 else float("inf")
    check.check(
        "head-room for more generations",
        room >= budgets.inode_generations_headroom,
        f"{mount}: {last.free} free inodes are {room:.0f} generations of {generation}, "
        f"budget {budgets.inode_generations_headroom}",
    )
    check.series(
        f"inodes {mount}",
        [
            *((n, s.used, "after GC") for n, s in enumerate(rest)),
            *((n, s.used, "after switch") for n, s in enumerate(full, 1)),
        ],
        kind="inodes",
        budget=last.total * float(budgets.inode_share),
    )


def _must_have_churned(
    full: list[dict[str, InodeSample]], rest: list[dict[str, InodeSample]]
) -> None:
    """Tell a file system that stays level from one that was never used."""
    for cycle, (before, peak) in enumerate(zip(rest, full, strict=False), 1):
        if peak["/nix"].used - before["/nix"].used < FILES // 2:
            raise NotExercised(
                f"cycle {cycle} deployed a package of {FILES} files",
                seen=f"inodes in use went from {before['/nix'].used} to "
                f"{peak['/nix'].used}",
            )
