"""`inodes-within-budget`: what running out of them may cost, and what mends it.

The old guest had to be rebooted; this one must lose a deployment at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import NotExercised
from suites.inodes.deployments import FILES, deployment

if TYPE_CHECKING:
    from harness import Machine, Recorder

pytestmark = [
    pytest.mark.criterion("inodes-within-budget"),
    pytest.mark.stage("onboarded"),
    pytest.mark.disruptive,
    pytest.mark.thorough,
]

# On the store's own file system, whichever that is.
_FILL = "/nix/var/fill"
# Enough for a rebuild to begin, too few for what it builds.
_LEFT = FILES // 10
# What a person deletes to get going again: Nix's database needs a journal to open.
_FREED = 10


def test_deployment_that_runs_out_of_inodes(dev: Machine, check: Recorder) -> None:
    """It fails and nothing else does; after a few deletions the collector works."""
    dev.system.rebuild("switch", deployment(1))
    before, lab = dev.system.state(), dev.lab.state()
    _use_up(dev)
    failed = dev.system.rebuild("switch", deployment(2))
    if dev.inodes.sample("/nix")["/nix"].free > _LEFT // 2:
        raise NotExercised("a deployment ran out of inodes", seen=failed.output[-1500:])
    after = dev.system.state()
    check.check(
        "a deployment that runs out of inodes fails",
        not failed.succeeded,
        f"exit status {failed.rc}: {failed.output[-1500:]}",
    )
    check.check(
        "the old generation keeps running",
        (after.current, after.profile) == (before.current, before.profile),
        f"current {after.current}, profile {after.profile}",
    )
    survivors = dev.lab.state()
    check.check(
        "sessions live on without inodes",
        survivors.identities == lab.identities and survivors.healthy,
        f"{survivors.active_state}, were {lab.sessions}, are {survivors.sessions}",
    )

    _give_back(dev, 1, _FREED)
    collected = dev.store.collect_garbage("-d")
    check.check(
        "the collector works with a few inodes",
        collected.rc == 0,
        f"exit status {collected.rc} with {_FREED} inodes: {collected.output[-1500:]}",
    )
    _give_back(dev, _FREED + 1, _FREED + 10 * FILES)
    rebuilt = dev.system.rebuild("switch", deployment(3))
    check.check(
        "the next deployment succeeds",
        rebuilt.succeeded,
        f"exit status {rebuilt.rc}: {rebuilt.output[-1500:]}",
    )
    verified = dev.store.verify()
    check.check(
        "the store is whole again", verified.clean, f"problems: {verified.problems}"
    )


def _use_up(dev: Machine) -> None:
    """Take inodes until next to none is left. Raises NotExercised.

    By pipes, which take one each and one system call, half of what a file costs.
    """
    free = dev.inodes.sample("/nix")["/nix"].free
    dev.sh(
        f"mkdir -p {_FILL} && cd {_FILL} && seq {free - _LEFT} | xargs -n 20000 mkfifo",
        timeout=900,
    )
    left = dev.inodes.sample("/nix")["/nix"].free
    if left > 2 * _LEFT:
        raise NotExercised("next to no inode was left", seen=f"{left} of {free}")


def _give_back(dev: Machine, first: int, last: int) -> None:
    """Delete some of them, which is what a person would do first."""
    script = f"cd {_FILL} && seq {first} {last} | xargs rm"
    dev.succeed("sh", "-c", script, timeout=300)
