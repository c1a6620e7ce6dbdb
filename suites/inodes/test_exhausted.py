"""`inodes-within-budget`: what running out of them may cost.

The old guest had to be rebooted; this one must lose a deployment at most.
"""

import pytest

from harness import Check, Machine, NotExercised, Recorder, describe
from suites.inodes import checks
from suites.inodes.deployments import FILES, deployment

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


@pytest.mark.scenario("exhausted")
def test_deployment_that_runs_out_of_inodes(dev: Machine, check: Recorder) -> None:
    """Only the deployment fails; after a few deletions the collector works."""
    dev.system.rebuild("switch", deployment(1))
    before = dev.system.state(), dev.lab.state()
    _use_up(dev)
    failed = dev.system.rebuild("switch", deployment(2))
    if (free := dev.inodes.sample("/nix")["/nix"].free) > _LEFT // 2:
        raise NotExercised(
            "a deployment to run out of inodes",
            seen=f"{free} inodes are free: {describe(failed.output)}",
        )
    after = dev.system.state(), dev.lab.state()
    check(checks.survives_exhaustion(failed, before, after))

    _give_back(dev, 1, _FREED)
    collected = dev.store.collect_garbage("-d")
    works = "the collector works with a few inodes"
    check(checks.recovers(works, collected.rc, collected.output))
    _give_back(dev, _FREED + 1, _FREED + 10 * FILES)
    rebuilt = dev.system.rebuild("switch", deployment(3))
    check(checks.recovers("the next deployment succeeds", rebuilt.rc, rebuilt.output))
    verified = dev.store.verify()
    check(
        Check(
            "the store is whole again",
            verified.clean,
            True,
            exit_status=verified.rc,
            problems=verified.problems,
        )
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
        raise NotExercised(
            f"at most {2 * _LEFT} free inodes", seen=f"{left} of {free} are free"
        )


def _give_back(dev: Machine, first: int, last: int) -> None:
    """Delete some of them, which is what a person would do first."""
    script = f"cd {_FILL} && seq {first} {last} | xargs rm"
    dev.succeed("sh", "-c", script, timeout=300)
