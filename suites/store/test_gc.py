"""`gc-no-estale`: decided by reading everything that lives, caches dropped first."""

import pytest

from harness import (
    HEARTBEATS,
    Budgets,
    Collection,
    Fleet,
    Machine,
    NotExercised,
    Recorder,
)
from suites.store import checks

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
    check(checks.owns_its_store(dev.store.foreign_mounts(), dev.argv))
    held = _hold_a_file_of_a_dropped_generation(dev)
    before = dev.lab.state()

    under_way = dev.store.start_collection("-d")
    reading = dev.store.read_everything()
    check(checks.reads_back(reading, "during the first collection"))
    _must_have_collected(under_way.wait(), "the first collection")
    found = held if dev.execute("test", "-e", held).succeeded else None
    check(checks.spares_open_file(held, found))

    dev.succeed("systemctl", "start", "nix-gc.service", timeout=300)
    _judge_store(dev, check, "after the second collection")
    after = dev.lab.state()
    hearts = {name: dev.lab.heartbeats(name) for name in HEARTBEATS}
    check(checks.sessions_live_on(before, after, hearts, budgets))


@pytest.mark.scenario("during-a-switch")
def test_gc_during_a_switch(dev: Machine, check: Recorder, fleet: Fleet) -> None:
    """A collector that runs all the time takes nothing from under a build."""
    dev.system.rebuild("switch", fleet.lab.changed(1))
    switching = dev.system.start_rebuild("switch", fleet.lab.changed(2))
    collecting = dev.store.start_collection("-d", times=3)
    rebuilt = switching.wait()
    collected = collecting.wait()
    _must_have_collected(collected, "the collector that runs during the switch")
    check(checks.switch_succeeds(rebuilt, dev.system.state()))
    _judge_store(dev, check, "after a switch during garbage collection")


@pytest.mark.scenario("old-generations")
@pytest.mark.fastest
def test_gc_of_old_generations(dev: Machine, check: Recorder, fleet: Fleet) -> None:
    """`--delete-older-than` takes the old generations and nothing of the young ones."""
    dev.system.rebuild("switch", fleet.lab.changed(1))
    _let_days_pass(dev, 40)
    dev.system.rebuild("switch", fleet.lab.changed(2))
    before = dev.system.state()
    collection = dev.store.collect_garbage("--delete-older-than", "30d")
    _must_have_collected(collection, "--delete-older-than 30d")
    after = dev.system.state()
    if len(after.generations) >= len(before.generations):
        raise NotExercised(
            "generations older than 30 days to be deleted",
            seen=f"there are {len(before.generations)} before and"
            f" {len(after.generations)} after",
        )
    check(checks.keeps_generations(before, after))
    _judge_store(dev, check, "after --delete-older-than 30d")


def _judge_store(dev: Machine, check: Recorder, during: str) -> None:
    """Observe all of the store, and record what it shows."""
    check(checks.reads_back(dev.store.read_everything(), during))
    check(
        checks.store_unharmed(
            dev.store.verify(),
            dev.store.deleted_mappings(),
            dev.store.kernel_complaints(),
            during,
        )
    )


def _must_have_collected(collection: Collection, what: str) -> None:
    """Raise NotExercised where a collection deleted nothing."""
    if collection.deleted < 1:
        raise NotExercised(
            f"{what} to delete a store path",
            seen={"exit status": collection.rc, "output": collection.output},
        )


def _hold_a_file_of_a_dropped_generation(dev: Machine) -> str:
    """Start a session on a program of a generation, then roll that one back."""
    dev.system.rebuild("switch", _HOLDING)
    path = dev.succeed(
        "readlink", "-f", f"/run/current-system/sw/bin/{_HOLDER}"
    ).strip()
    dev.lab.start_session(_HOLDER, f"exec {path}")
    dev.system.rebuild("switch", rollback=True)
    if dev.execute("test", "-e", f"/run/current-system/sw/bin/{_HOLDER}").succeeded:
        raise NotExercised(
            "the generation with the session's program to be rolled back",
            seen=f"/run/current-system still has {_HOLDER}",
        )
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
