"""Where a fault's stage goes, and that no digest of a healthy stage changes by it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from harness.fault import Fault
from harness.fleet import load_fleet
from harness.stage import FaultyInputs, RunInputs, stage_digest
from harness.stage.faulty import adapter, route, shell

if TYPE_CHECKING:
    from harness.host import Accelerator
    from harness.image import Image
    from harness.machine import Machine

ROOT = Path(__file__).parents[2]
PARTS: dict[str, Any] = {
    "fleet": load_fleet(ROOT / "fleet.toml"),
    "image": cast("Image", SimpleNamespace(digest="d" * 64)),
    "accelerator": cast("Accelerator", SimpleNamespace(name="tcg", cpu="max")),
}


class Wakes(Fault):
    """Does nothing to a stage."""

    name = "wakes"


class InjectsOnce(Fault):
    """Does something to the onboarded machine."""

    name = "spoils"

    def inject_once(self, machine: Machine, inputs: RunInputs) -> None:
        """Do it."""


class SpoilsMore(InjectsOnce):
    """Does the same under another name."""

    name = "spoils-more"


def names(stage: str, vm: str, inputs: RunInputs) -> list[str]:
    """List the stages on the way."""
    return [each.name for each in route(stage, vm, inputs)]


def test_a_spoiled_stage_comes_after_its_own_and_before_the_next() -> None:
    """What is built later is built on it."""
    inputs = FaultyInputs(**PARTS, fault=InjectsOnce())
    before = ["cloud", "nixos", "onboarded", "onboarded+spoils"]
    assert names("onboarded", "dev", inputs) == before
    assert names("swapped", "dev", inputs) == [*before, "swapped"]
    assert names("nixos", "dev", inputs) == ["cloud", "nixos"]


def test_other_machines_are_spared() -> None:
    """A fault is about the machines that it names."""
    inputs = FaultyInputs(**PARTS, fault=InjectsOnce())
    assert names("onboarded", "openclaw", inputs)[-1] == "onboarded"


def test_caches_never_mix() -> None:
    """Healthy stages are shared with healthy runs, spoiled ones with nobody."""
    healthy = RunInputs(**PARTS)
    wakes, injects_once, more = (
        FaultyInputs(**PARTS, fault=fault)
        for fault in (Wakes(), InjectsOnce(), SpoilsMore())
    )
    for stage in ("onboarded", "swapped"):
        digests = [
            stage_digest(stage, "dev", g) for g in (healthy, wakes, injects_once, more)
        ]
        assert digests[0] == digests[1]
        assert len(set(digests)) == 3
    cloud = {stage_digest("cloud", "dev", g) for g in (healthy, injects_once, more)}
    assert len(cloud) == 1


def test_only_a_faulty_ground_adapts_the_command_line() -> None:
    """The fault has the last word, where there is one."""
    plan: Any = object()
    fault = Wakes()
    assert adapter("dev", RunInputs(**PARTS))(plan) is plan
    assert (
        adapter("dev", FaultyInputs(**PARTS, fault=fault)) == fault.alter_command_line
    )


def test_the_old_world_is_a_shell_of_the_machines_that_a_fault_names() -> None:
    """All others, and every healthy run, stay in the new one."""

    class Old(Wakes):
        shell = "microvm"

    inputs = FaultyInputs(**PARTS, fault=Old())
    assert shell("dev", inputs) == "microvm"
    assert shell("openclaw", inputs) == "vm"
    assert shell("dev", FaultyInputs(**PARTS, fault=Wakes())) == "vm"
    assert shell("dev", RunInputs(**PARTS)) == "vm"
