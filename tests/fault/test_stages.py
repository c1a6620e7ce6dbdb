"""Where a fault's stage goes, and that no digest of a healthy stage changes by it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from harness.criteria import StageName
from harness.fault import Fault
from harness.fleet import load_fleet
from harness.machine import NO_HOOKS
from harness.stage import STAGES, RunInputs, StageCache
from harness.stage.route import route

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


class Injects(Fault):
    """Does nothing to a stage."""

    name = "injects"


class InjectsOnce(Fault):
    """Does something to the onboarded machine."""

    name = "injects-once"

    def inject_once(self, machine: Machine, inputs: RunInputs) -> None:
        """Do it."""


class InjectsOnceToo(InjectsOnce):
    """Does the same under another name."""

    name = "injects-once-too"


class Silent:
    """Shows no progress."""

    def step(self, text: str) -> None:
        """Ignore it."""


def names(stage: str, vm: str, inputs: RunInputs) -> list[str]:
    """List the stages on the way."""
    return [each.name for each in route(inputs, stage, vm)]


def digest(stage: str, inputs: RunInputs, home: Path) -> str:
    """Digest dev's state at a stage."""
    return StageCache(inputs, Silent(), home).digest(stage, "dev")


def test_the_graph_has_every_stage_in_its_order() -> None:
    """Markers, command line and report know them by the one list of names."""
    assert list(STAGES) == list(StageName)
    parents = [stage.parent for stage in STAGES.values()]
    assert parents == [None, *list(StageName)[:-1]]


def test_the_stage_of_a_fault_comes_after_its_own_and_before_the_next() -> None:
    """What is built later is built on it."""
    inputs = RunInputs(**PARTS, fault=InjectsOnce())
    before = ["cloud", "nixos", "onboarded", "onboarded+injects-once"]
    assert names("onboarded", "dev", inputs) == before
    assert names("swapped", "dev", inputs) == [*before, "swapped"]
    assert names("nixos", "dev", inputs) == ["cloud", "nixos"]


def test_other_machines_have_no_part_of_it() -> None:
    """A fault is about the machines that it names."""
    inputs = RunInputs(**PARTS, fault=InjectsOnce())
    assert names("onboarded", "openclaw", inputs)[-1] == "onboarded"


def test_caches_never_mix(tmp_path: Path) -> None:
    """Healthy stages are shared with healthy runs, faulty ones with no other."""
    healthy = RunInputs(**PARTS)
    injects, injects_once, more = (
        RunInputs(**PARTS, fault=fault)
        for fault in (Injects(), InjectsOnce(), InjectsOnceToo())
    )
    for stage in ("onboarded", "swapped"):
        digests = [
            digest(stage, inputs, tmp_path)
            for inputs in (healthy, injects, injects_once, more)
        ]
        assert digests[0] == digests[1]
        assert len(set(digests)) == 3
    cloud = {digest("cloud", g, tmp_path) for g in (healthy, injects_once, more)}
    assert len(cloud) == 1


def test_only_a_fault_alters_a_machine() -> None:
    """It has the last word, where there is one and it is about the machine."""
    fault = Injects()
    assert RunInputs(**PARTS).hooks("dev") is NO_HOOKS
    faulty = RunInputs(**PARTS, fault=fault)
    assert faulty.hooks("dev") is fault
    assert faulty.hooks("openclaw") is NO_HOOKS


def test_a_fault_makes_microvms_of_the_machines_that_it_names() -> None:
    """All others, and those of every healthy run, boot from their own disk."""

    class Old(Injects):
        microvm = True

    inputs = RunInputs(**PARTS, fault=Old())
    assert inputs.as_microvm("dev")
    assert not inputs.as_microvm("openclaw")
    assert not RunInputs(**PARTS, fault=Injects()).as_microvm("dev")
    assert not RunInputs(**PARTS).as_microvm("dev")
