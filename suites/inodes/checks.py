"""What decides `inodes-within-budget`: statvfs before and after deployments."""

from collections.abc import Iterator, Mapping, Sequence

from harness import (
    Budgets,
    Check,
    InodeSample,
    LabState,
    Quantity,
    Rebuild,
    SystemState,
    absent,
    at_least,
    at_most,
    slope,
)


def fits_a_store(now: InodeSample, budgets: Budgets) -> Iterator[Check]:
    """Check the share of inodes in use of a file system, and its bytes per inode."""
    yield Check(
        "bytes per inode fit a Nix store",
        Quantity(now.bytes_per_inode, "bytes"),
        at_most(budgets.bytes_per_inode_max),
        during=f"on {now.mount}",
        type=now.fstype,
    )
    yield Check(
        "the share of inodes in use is within budget",
        Quantity(now.share, "share"),
        at_most(budgets.inode_share),
        during=f"on {now.mount}",
        used=now.used,
        total=now.total,
    )


def stays_level(
    rest: Sequence[InodeSample], full: Sequence[InodeSample], budgets: Budgets
) -> Iterator[Check]:
    """Check the growth of a file system, and its room for more generations.

    `rest` was sampled before the first cycle and after each collection, `full` after
    each deployment.
    """
    last = rest[-1]
    during = f"on {last.mount}, {len(full)} cycles"
    # The first sample still has what onboarding built and no cycle builds again.
    used = [sample.used for sample in rest[1:]]
    yield Check(
        "inode growth per cycle is within budget",
        Quantity(slope(used), "inodes"),
        at_most(budgets.inode_growth_per_cycle),
        during=during,
        in_use_after_each_collection=used,
    )
    generation = max(f.used - r.used for f, r in zip(full, rest[1:], strict=True))
    room = last.free / generation if generation > 0 else float("inf")
    yield Check(
        "free inodes suffice for more generations",
        Quantity(room, "generations"),
        at_least(budgets.inode_generations_headroom),
        during=during,
        free=last.free,
        largest_generation=Quantity(generation, "inodes"),
    )


def cleaned_up(leftovers: Mapping[str, int]) -> Check:
    """Check that onboarding removed the old root; `leftovers` counts inodes."""
    return Check(
        "nothing of the old root is left", leftovers, absent(), of="inodes by directory"
    )


def collected(generations: int) -> Check:
    """Check that `nix-collect-garbage -d` leaves the current generation only."""
    return Check(
        "old generations are collected",
        generations,
        1,
        of="number of generations",
        during="after nix-collect-garbage -d",
    )


def survives_exhaustion(
    failed: Rebuild,
    before: tuple[SystemState, LabState],
    after: tuple[SystemState, LabState],
) -> Iterator[Check]:
    """Check that running out of inodes costs no more than the deployment."""
    (system, lab), (system_after, lab_after) = before, after
    yield Check(
        "a deployment that runs out of inodes fails",
        failed.succeeded,
        False,
        of="success",
        exit_status=failed.rc,
        output=failed.output,
    )
    paths = [s and s.path for s in (system.current, system.profile)]
    yield Check(
        "the old generation keeps running",
        [s and s.path for s in (system_after.current, system_after.profile)],
        paths,
        of="current system and profile",
    )
    yield Check(
        "sessions live on without inodes",
        lab_after.sessions,
        lab.sessions,
        of="sessions",
    )
    yield Check(
        "lab is healthy without inodes",
        lab_after.healthy,
        True,
        unit=lab_after.active_state,
        http_status=lab_after.status,
        not_listed=lab_after.unlisted,
    )


def recovers(step: str, rc: int, output: str) -> Check:
    """Check that a command after the exhaustion succeeds; `step` says which."""
    return Check(step, rc, 0, of="exit status", output=output)
