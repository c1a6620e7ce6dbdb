"""`gc-no-estale`: decided by reading everything that lives, caches dropped first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import HEARTBEATS, NotExercised
from suites.store.judge import (
    judge_ownership,
    judge_reading,
    judge_store,
    must_have_collected,
)

if TYPE_CHECKING:
    from harness import Budgets, Fleet, Machine, Recorder

pytestmark = [
    pytest.mark.criterion("gc-no-estale"),
    pytest.mark.stage("onboarded"),
    pytest.mark.disruptive,
]

_HOLDER = "acceptance-holder"
# Bash keeps the script it runs open, so the file below stays in use for as long as the
# session lives, and nothing else refers to it once its generation is gone.
_HOLDING = f"""{{ pkgs, ... }}: {{
  environment.systemPackages = [
    (pkgs.writeShellScriptBin "{_HOLDER}" "while :; do read -r -t 3600 _; done")
  ];
}}"""


@pytest.mark.scenario("live-sessions")
def test_gc_spares_what_sessions_use(
    dev: Machine, check: Recorder, budgets: Budgets
) -> None:
    """Collect twice, aggressively, under sessions that hold what no generation has."""
    judge_ownership(check, dev)
    held = _hold_a_file_of_a_dropped_generation(dev)
    before = dev.lab.state()

    under_way = dev.store.start_collection("-d")
    judge_reading(check, "while collecting", dev.store.read_everything())
    first = under_way.wait()
    must_have_collected(first, "the first collection")
    check.check(
        "what a session holds open is spared",
        dev.execute("test", "-e", held).succeeded,
        f"{held} is gone although session {_HOLDER} has it open",
    )

    dev.succeed("systemctl", "start", "nix-gc.service", timeout=300)
    event = "after the second collection"
    judge_reading(check, event, dev.store.read_everything())
    judge_store(check, event, dev)
    after = dev.lab.state()
    check.check(
        "sessions run on",
        {n: s.identity for n, s in after.sessions.items()}
        == {n: s.identity for n, s in before.sessions.items()},
        f"were {sorted(before.sessions)}, are {sorted(after.sessions)}",
    )
    for name in HEARTBEATS:
        heart = dev.lab.heartbeats(name)
        check.check(
            "hearts beat on through the collections",
            heart.unbroken and heart.gaps[-1].ms <= budgets.heartbeat_gap_ms,
            f"{name}: misses {heart.missing[:5]}, last beat {heart.gaps[-1].ms:.0f} ms "
            "ago",
        )


@pytest.mark.scenario("during-a-switch")
def test_gc_during_a_switch(dev: Machine, check: Recorder, fleet: Fleet) -> None:
    """A collector that runs all the time takes nothing from under a build."""
    dev.system.rebuild("switch", fleet.lab.changed(1))
    switching = dev.system.start_rebuild("switch", fleet.lab.changed(2))
    collecting = dev.store.start_collection("-d", times=3)
    rebuilt = switching.wait()
    collected = collecting.wait()
    must_have_collected(collected, "the collector beside the build")
    check.check(
        "the switch succeeds beside a collector",
        rebuilt.succeeded,
        f"exit status {rebuilt.rc}: {rebuilt.output[-1500:]}",
    )
    state = dev.system.state()
    check.check(
        "the new generation is the current one",
        state.current and state.profile and state.current.path == state.profile.path,
        f"current {state.current}, profile {state.profile}",
    )
    event = "after a switch beside a collector"
    judge_reading(check, event, dev.store.read_everything())
    judge_store(check, event, dev)


@pytest.mark.scenario("old-generations")
@pytest.mark.fastest
def test_gc_of_old_generations(dev: Machine, check: Recorder, fleet: Fleet) -> None:
    """`--delete-older-than` takes the old generations and nothing of the young ones."""
    dev.system.rebuild("switch", fleet.lab.changed(1))
    _let_days_pass(dev, 40)
    dev.system.rebuild("switch", fleet.lab.changed(2))
    before = dev.system.state()
    collection = dev.store.collect_garbage("--delete-older-than", "30d")
    must_have_collected(collection, "--delete-older-than 30d")
    after = dev.system.state()
    if len(after.generations) >= len(before.generations):
        raise NotExercised(
            "generations older than 30 days were deleted",
            seen=f"{len(before.generations)} generations before and after",
        )
    check.check(
        "booted, current and profile generation stay",
        (after.booted, after.current, after.profile)
        == (before.booted, before.current, before.profile),
        f"before {before.booted}, {before.current}; after {after.booted}, "
        f"{after.current}",
    )
    event = "after --delete-older-than"
    judge_reading(check, event, dev.store.read_everything())
    judge_store(check, event, dev)


def _hold_a_file_of_a_dropped_generation(dev: Machine) -> str:
    """Start a session on a program of a generation, then roll that one back."""
    dev.system.rebuild("switch", _HOLDING)
    path = dev.succeed(
        "readlink", "-f", f"/run/current-system/sw/bin/{_HOLDER}"
    ).strip()
    dev.lab.start_session(_HOLDER, f"exec {path}")
    dev.system.rebuild("switch", rollback=True)
    if dev.execute("test", "-e", f"/run/current-system/sw/bin/{_HOLDER}").succeeded:
        raise NotExercised("the generation with the session's program was dropped")
    return path


def _let_days_pass(dev: Machine, days: int) -> None:
    """Age the generations there are, instead of the guest's clock.

    Nix judges a generation by the time of its profile link (nix-env(1),
    --delete-generations), and a clock that jumps would disturb much else.
    """
    dev.succeed(
        *("sh", "-c", 'touch -h -d "$1 days ago" /nix/var/nix/profiles/system-*-link'),
        *("sh", str(days)),
    )
