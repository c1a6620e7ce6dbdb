"""Fixtures over stand-ins for the rooms that boot machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.criteria import Outcome
from tests.plugin.child import ROOT, Child

if TYPE_CHECKING:
    from harness.process import Completed
    from harness.report import Results, model

# What the plugin needs of image, host, site and stage, without a VM behind it.
STAND_INS = """
    from contextlib import contextmanager
    from pathlib import Path
    from types import SimpleNamespace

    import harness.host
    import harness.reference
    import harness.site
    from harness.errors import LaunchFailed
    from harness.image.checksums import Damage
    from harness.stage import StageCache, entry


    def image(progress):
        progress.step("building the image")
        return SimpleNamespace(
            digest="sha256:00",
            kernel=Path("vmlinuz"),
            damage=lambda fresh: damage(),
        )


    def damage():
        file = Path("damaged")
        return [Damage(file, "1 byte", "2 bytes")] if file.exists() else []


    def choose_accelerator(choice, kernel, deadline):
        return SimpleNamespace(name="tcg", reason="no KVM", cpu="max", patience=4.0)


    @contextmanager
    def open_site(network, directory, *, deadline, reserved):
        assert len(reserved) >= 2
        yield SimpleNamespace(directory=directory)


    def ensure(self, stage, vm):
        if stage == "swapped":
            with Path("attempts").open("a") as file:
                file.write("x")
            raise LaunchFailed("QEMU did not start")
        home = Path(f"stage-{stage}")
        home.mkdir(exist_ok=True)
        base = {"name": "", "seal": ""}
        facts = {"stage": stage, "vm": vm, "digest": "d", "built": 0, "build_s": 1}
        more = {"retries": 1, "base": base, "image": "i", "code": "c", "qemu": "7"}
        entry.write(home, facts | more)
        return home


    def place(self, stage, vm):
        return Path(f"stage-{stage}").absolute()


    class Machine:
        restored_from = Path("saved")

        def __init__(self, name, directory):
            self.name = name
            self.directory = directory
            self.vm = SimpleNamespace(ip="10.0.0.1")
            self.site = SimpleNamespace(
                enter=lambda argv, host: argv, client=SimpleNamespace(host=None)
            )

        def collect(self, into):
            if self.name == "openclaw":
                raise RuntimeError("no journal")
            (into / "console.log").write_text("password: hunter2\\n")


    @contextmanager
    def machine(self, stage, vm, site, directory):
        assert directory.is_dir()
        assert self.inputs.accelerator.patience == 4.0
        yield Machine(vm, directory)
        with Path("ended").open("a") as file:
            file.write(f"{vm}\\n")


    harness.reference.image = image
    harness.host.choose_accelerator = choose_accelerator
    harness.site.open_site = open_site
    StageCache.ensure = ensure
    StageCache.place = place
    StageCache.machine = machine
"""
SUITE = {
    "suites/conftest.py": STAND_INS,
    "suites/test_machines.py": """
        import pytest

        from harness.evidence import Check

        pytestmark = pytest.mark.criterion("two-consumers")


        @pytest.mark.stage("onboarded")
        def test_passes(dev, check, budgets):
            assert budgets.heartbeat_gap_ms > 0
            check(Check("name", dev.name, "dev"))


        @pytest.mark.stage("onboarded")
        def test_fails(dev, check):
            check(Check("name", dev.name, "x"))


        @pytest.mark.stage("onboarded")
        def test_two(dev, machine_factory):
            other = machine_factory(vm="openclaw", stage="nixos")
            assert other.directory != dev.directory


        def test_no_stage(machine_factory):
            machine_factory()


        @pytest.mark.stage("swapped")
        @pytest.mark.parametrize("n", range(3))
        def test_unbuildable(dev, n):
            pass
    """,
}


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Child:
    """Lay out the suite, with the project's own fleet."""
    files = {**SUITE, "fleet.toml": (ROOT / "fleet.toml").read_text()}
    return Child.made_of(tmp_path_factory.mktemp("child"), files)


@pytest.fixture(scope="module")
def ended(child: Child) -> Completed:
    """Run it."""
    return child.run("suites")


@pytest.fixture(scope="module")
def results(child: Child, ended: Completed) -> Results:
    """Read what it left."""
    assert ended.rc == 1, ended.stdout
    return child.results()


def named(results: Results, name: str) -> model.TestResult:
    """Find a test."""
    return next(t for t in results.tests if t.nodeid.endswith(f"::{name}"))


def test_outcomes(results: Results) -> None:
    """Each test ended as it should."""
    assert [t.outcome for t in results.tests] == [
        *("passed", "failed", "passed", "broken"),
        *["broken"] * 3,
    ]


def test_every_machine_is_collected(child: Child, results: Results) -> None:
    """Passed or failed, a test's machines are in the report, without secrets."""
    for name in ("test_passes", "test_fails"):
        (machine,) = named(results, name).machines
        log = child.latest / machine / "console.log"
        assert log.read_text() == "password: [redacted]\n"
    assert len(named(results, "test_two").machines) == 2


def test_what_cannot_be_collected_is_noted(results: Results) -> None:
    """Evidence that could not be had does not break a test that passed."""
    notes = named(results, "test_two").notes
    assert "not all of openclaw collected: no journal" in notes


def test_retries_are_told(results: Results) -> None:
    """A stage that needed a second try says so in the report."""
    assert "1 kernel panics" in named(results, "test_passes").notes[0]


def test_machines_end_with_their_test(child: Child, results: Results) -> None:
    """Nothing outlives its test, last made first gone."""
    assert results
    order = (child.directory / "ended").read_text().split()
    assert order == ["dev", "dev", "openclaw", "dev"]


def test_a_stage_is_not_tried_for_every_test(child: Child, results: Results) -> None:
    """Each test that needs a stage reports the stage's first failure."""
    assert (child.directory / "attempts").read_text() == "x"
    last = named(results, "test_unbuildable[2]")
    assert "stage swapped of dev could not be built" in last.reason
    assert "same cause as suites/test_machines.py::test_unbuildable[0]" in last.reason
    assert "QEMU did not start" in last.reason


def test_a_missing_stage_is_told(results: Results) -> None:
    """Asking for a machine without saying at which stage is a usage fault."""
    assert "add @pytest.mark.stage" in named(results, "test_no_stage").reason


def test_provenance(results: Results) -> None:
    """The report says what it rests on."""
    run = results.run
    assert (run.accel, run.accel_reason, run.speed_factor) == ("tcg", "no KVM", 4.0)
    assert run.images == {"reference": "sha256:00"}
    assert run.spec_digest
    assert run.scaled
    assert results.timings.restore_s is not None


def test_kept_machines_wait_for_enter(child: Child, results: Results) -> None:
    """`--keep-machines` holds a failed test's machine and says where it is."""
    assert results
    ended = child.run("suites", "--keep-machines", "-k", "fails or passes", stdin=b"\n")
    assert ended.stdout.count("dev keeps running in ") == 1
    assert "harness console" in ended.stdout
    assert child.results().run.selection.endswith("-k fails or passes")


def test_a_failure_on_a_damaged_cache_is_broken(child: Child, results: Results) -> None:
    """What the machine was made from is checked before a failure is believed."""
    assert results
    (child.directory / "damaged").touch()
    ended = child.run("suites", "-k", "test_fails or test_passes")
    again = child.results()
    assert named(again, "test_passes").outcome is Outcome.PASSED
    broken = named(again, "test_fails")
    assert broken.outcome is Outcome.BROKEN
    assert "the cached image sha256:00 is damaged: damaged" in broken.reason
    assert "harness clean --damaged" in broken.reason
    assert "seen before that: name: " in broken.reason
    assert ended.rc != 0
