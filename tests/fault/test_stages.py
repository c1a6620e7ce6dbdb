"""Where a fault's stage goes, and that no digest of a healthy stage changes by it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from harness import spec
from harness.fault import Fault
from harness.stage import FaultyGround, Ground, stage_digest
from harness.stage.spoiled import adapter, route, shell

if TYPE_CHECKING:
    from harness.host import Accelerator
    from harness.image import Image
    from harness.machine import Machine

ROOT = Path(__file__).parents[2]
PARTS: dict[str, Any] = {
    "fleet": spec.load(ROOT / "fleet.toml"),
    "image": cast("Image", SimpleNamespace(digest="d" * 64)),
    "accelerator": cast("Accelerator", SimpleNamespace(name="tcg", cpu="max")),
}


class Wakes(Fault):
    """Does nothing to a stage."""

    name = "wakes"


class Spoils(Fault):
    """Does something to the onboarded machine."""

    name = "spoils"

    def spoil(self, machine: Machine, ground: Ground) -> None:
        """Do it."""


class SpoilsMore(Spoils):
    """Does the same under another name."""

    name = "spoils-more"


def names(stage: str, vm: str, ground: Ground) -> list[str]:
    """List the stages on the way."""
    return [each.name for each in route(stage, vm, ground)]


def test_a_spoiled_stage_comes_after_its_own_and_before_the_next() -> None:
    """What is built later is built on it."""
    ground = FaultyGround(**PARTS, fault=Spoils())
    before = ["cloud", "nixos", "onboarded", "onboarded+spoils"]
    assert names("onboarded", "dev", ground) == before
    assert names("swapped", "dev", ground) == [*before, "swapped"]
    assert names("nixos", "dev", ground) == ["cloud", "nixos"]


def test_other_machines_are_spared() -> None:
    """A fault is about the machines that it names."""
    ground = FaultyGround(**PARTS, fault=Spoils())
    assert names("onboarded", "openclaw", ground)[-1] == "onboarded"


def test_caches_never_mix() -> None:
    """Healthy stages are shared with healthy runs, spoiled ones with nobody."""
    healthy = Ground(**PARTS)
    wakes, spoils, more = (
        FaultyGround(**PARTS, fault=fault)
        for fault in (Wakes(), Spoils(), SpoilsMore())
    )
    for stage in ("onboarded", "swapped"):
        digests = [
            stage_digest(stage, "dev", g) for g in (healthy, wakes, spoils, more)
        ]
        assert digests[0] == digests[1]
        assert len(set(digests)) == 3
    cloud = {stage_digest("cloud", "dev", g) for g in (healthy, spoils, more)}
    assert len(cloud) == 1


def test_only_a_faulty_ground_adapts_the_command_line() -> None:
    """The fault has the last word, where there is one."""
    plan: Any = object()
    fault = Wakes()
    assert adapter("dev", Ground(**PARTS))(plan) is plan
    assert adapter("dev", FaultyGround(**PARTS, fault=fault)) == fault.plan


def test_the_old_world_is_a_shell_of_the_machines_that_a_fault_names() -> None:
    """All others, and every healthy run, stay in the new one."""

    class Old(Wakes):
        shell = "microvm"

    ground = FaultyGround(**PARTS, fault=Old())
    assert shell("dev", ground) == "microvm"
    assert shell("openclaw", ground) == "vm"
    assert shell("dev", FaultyGround(**PARTS, fault=Wakes())) == "vm"
    assert shell("dev", Ground(**PARTS)) == "vm"
