"""`inodes-within-budget`: decided over switch + GC cycles, by what statvfs says."""

from collections.abc import Sequence

import pytest

from harness import Budgets, Check, InodeSample, Machine, NotExercised, Recorder
from suites.inodes import checks
from suites.inodes.deployments import FILES, deployment

pytestmark = [
    pytest.mark.criterion("inodes-within-budget"),
    pytest.mark.stage("onboarded"),
    pytest.mark.disruptive,
]

_CYCLES = 8


@pytest.mark.scenario("cycles")
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
        levels = [s[mount] for s in rest], [s[mount] for s in full]
        check(checks.fits_a_store(rest[-1][mount], budgets))
        level = tuple(checks.stays_level(*levels, budgets))
        check(level)
        _draw(check, budgets, level[0], *levels)
    check(checks.cleaned_up(dev.inodes.census(depth=1).leftovers))
    check(checks.collected(len(dev.system.generations())))


def _draw(
    check: Recorder,
    budgets: Budgets,
    growth: Check,
    rest: Sequence[InodeSample],
    full: Sequence[InodeSample],
) -> None:
    """Keep the inodes in use, cycle by cycle, for the report."""
    last = rest[-1]
    check.series(
        f"inodes {last.mount}",
        [
            # The first line is the one that the check fits.
            *((n, s.used, "after GC") for n, s in enumerate(rest[1:], 1)),
            *((n, s.used, "after switch") for n, s in enumerate(full, 1)),
            (0, rest[0].used, "before the first cycle"),
        ],
        kind="inodes",
        budget=last.total * float(budgets.inode_share),
        judged_by=(growth.name, growth.during),
    )


def _must_have_churned(
    full: list[dict[str, InodeSample]], rest: list[dict[str, InodeSample]]
) -> None:
    """Raise NotExercised where the deployments used no inodes."""
    for cycle, (before, peak) in enumerate(zip(rest, full, strict=False), 1):
        if peak["/nix"].used - before["/nix"].used < FILES // 2:
            raise NotExercised(
                f"cycle {cycle} to deploy a package of {FILES} files",
                seen=f"the inodes in use on /nix went from {before['/nix'].used}"
                f" to {peak['/nix'].used}",
            )
