"""Sites and machines of a run, with a real site and QEMU; the guest is a boot sector.

The agent is played by the test, so QEMU's own sockets are moved away by a fault's
`alter_command_line`.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from harness.errors import GuestFailure, HarnessError, InputError
from harness.fault import Fault
from harness.fleet import load_fleet
from harness.machine import save
from harness.stage import RunInputs
from harness.stage.entry import BelowDisk
from harness.testbed import BuildFailures, Observer, Testbed, load_spec
from tests.machine.conftest import ACCELERATOR, VM
from tests.machine.sector_agent import SectorAgent, serve
from tests.stage.stored import complete

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.fleet import Fleet
    from harness.image import Image
    from harness.image.checksums import Damage
    from harness.machine import Machine
    from harness.qemu import MachinePlan
    from harness.site import Site
    from tests.machine.conftest import Bench

ROOT = Path(__file__).parents[2]


class Chronicle(Fault):
    """Writes down when each of its hooks is called."""

    name = "chronicle"

    def __init__(self) -> None:
        self.calls: list[str] = []

    def alter_spec(self, fleet: Fleet) -> Fleet:
        """Make dev as small as the guest is."""
        self.calls.append("alter_spec")
        dev = fleet.vms["dev"].model_copy(
            update={"mem": VM.mem, "vcpu": VM.vcpu, "disk_size_g": 1}
        )
        return fleet.model_copy(update={"vms": {**fleet.vms, "dev": dev}})

    def alter_command_line(self, plan: MachinePlan) -> MachinePlan:
        """Keep QEMU's sockets away from the agent that the test plays."""
        self.calls.append("alter_command_line")
        return replace(plan, directory=plan.directory / "emulator", tb_size=16)

    def inject(self, machine: Machine) -> None:
        """Ask the machine for something, so that it must be running."""
        self.calls.append(f"inject {machine.succeed('echo', 'injected').strip()}")

    @contextmanager
    def alter_network(self, site: Site) -> Iterator[None]:
        """Note the site's first and last moment."""
        self.calls.append(f"alter_network {sorted(site.taps())}")
        yield
        self.calls.append(f"network restored {sorted(site.taps())}")


@dataclass
class Watch(Observer):
    """Plays the agent of each machine, and writes down what is reported."""

    stack: ExitStack
    evidence: Path
    boot_id: str
    name: str = "test_watched"
    notes: list[str] = field(default_factory=list)

    def starting(self, vm: str, directory: Path) -> Path:
        """Answer in the machine's place from now on."""
        agent: SectorAgent = self.stack.enter_context(serve(directory))
        agent.boot_id = self.boot_id
        self.notes.append(f"starting {vm}")
        return self.evidence

    def started(self, machine: Machine, seconds: float) -> None:
        """Note the machine, and that time is measured."""
        self.notes.append(f"started {machine.name} {seconds > 0}")

    def ending(self, machine: Machine) -> None:
        """Note that it is still there to be looked at."""
        self.notes.append(f"ending {machine.succeed('echo', 'alive').strip()}")

    def note(self, text: str) -> None:
        """Note what the report would say."""
        self.notes.append(text)


@dataclass
class Steps:
    """Keeps the lines of progress."""

    lines: list[str] = field(default_factory=list)

    def step(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)


def run_inputs(fault: Fault | None = None, base: Path = Path("missing")) -> RunInputs:
    """Give inputs whose image has a digest, and a disk only where one is given."""

    @dataclass
    class Base:
        path: Path
        digest: str = "d" * 64

        def damage(self, *, fresh: bool = False) -> list[Damage]:
            """Find none."""
            _ = fresh
            return []

    fleet = load_spec(ROOT / "fleet.toml", fault)
    return RunInputs(fleet, cast("Image", Base(base)), ACCELERATOR, fault)


def saved_stage(bench: Bench, testbed: Testbed, stage: str, retries: int = 0) -> str:
    """Save the guest where the stage of dev would be; return its boot id."""
    stages = testbed.stages
    home = stages.home / f"{stage}-dev-{stages.digest(stage, 'dev')}"
    home.mkdir(mode=0o700)
    with bench.launched("template", save_into=home) as (machine, agent):
        boot_id = agent.boot_id
        save(machine, home)
    state = json.loads((home / "machine.json").read_text())
    dev = testbed.inputs.vm("dev")
    renamed = {**state, "name": dev.name, "mac": dev.mac}
    (home / "machine.json").write_text(json.dumps(renamed))
    complete(home, stage, BelowDisk("d" * 64), "d" * 64, retries)
    return boot_id


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def test_hooks_observer_and_evidence(bench: Bench, tmp_path: Path) -> None:
    """Each hook of a fault once, in order; the site is whole before and after."""
    fault, steps = Chronicle(), Steps()
    testbed = Testbed(inputs=run_inputs(fault), progress=steps)
    boot_id = saved_stage(bench, testbed, "onboarded", retries=1)
    with ExitStack() as agents:
        watch = Watch(agents, tmp_path / "evidence", boot_id)
        with testbed.open("onboarded") as plain, agents:
            with testbed.machines(
                plain.site, bench.directory / "own", stage="onboarded", observer=watch
            ) as factory:
                factory.directory.mkdir()
                dev = factory(vm="dev")
                assert dev.restored_from is not None
                assert dev.boot_id == boot_id
                assert plain.site.taps() == ["tap-dev"]
                with pytest.raises(HarnessError, match="dev was started on this site"):
                    factory(vm="dev")
            assert plain.site.taps() == []
    assert fault.calls == [
        "alter_spec",
        "alter_network []",
        "alter_command_line",
        "inject echo injected",
        "network restored []",
    ]
    retried = "stage onboarded of dev was built after 1 kernel panics"
    assert watch.notes[0].startswith(retried)
    assert watch.notes[1:] == ["starting dev", "started dev True", "ending echo alive"]
    assert "incoming" in (watch.evidence / "argv.txt").read_text()
    assert steps.lines == []


def test_a_demand_needs_a_stage(tmp_path: Path) -> None:
    """Said before anything is built or started."""
    testbed = Testbed(inputs=run_inputs(), progress=Steps())
    site: Any = None
    with (
        testbed.machines(site, tmp_path) as factory,
        pytest.raises(InputError, match="dev: no stage is given"),
    ):
        factory(vm="dev")
    assert not (tmp_path / "dev").exists()


@pytest.mark.parametrize("remember", [True, False])
def test_a_failed_build_is_remembered_in_a_run(
    site: Site, tmp_path: Path, *, remember: bool
) -> None:
    """A second test of the run names the first cause; without a run it is retried."""
    steps = Steps()
    failures = BuildFailures(tmp_path) if remember else None
    testbed = Testbed(inputs=run_inputs(), progress=steps, failures=failures)
    errors = []
    for name in ("test_one", "test_two"):
        observer = Observer()
        observer.name = name
        with (
            testbed.machines(site, tmp_path, stage="cloud", observer=observer) as make,
            pytest.raises(HarnessError) as caught,
        ):
            make(vm="dev")
        errors.append(str(caught.value))
    attempts = [line for line in steps.lines if line.startswith("stage cloud of dev: ")]
    assert len(attempts) == (1 if remember else 2)
    assert ("first in test_one" in errors[1]) is remember
    assert all("missing" in error for error in errors)


def test_a_failure_of_the_guest_stays_one(tmp_path: Path) -> None:
    """The subject failed in the first test, and so it did in all that follow."""
    failures = BuildFailures(tmp_path)
    for number in (1, 2):
        with (
            pytest.raises(GuestFailure) as caught,
            failures.remembered("nixos", "dev", "00", by=f"test_{number}"),
        ):
            raise GuestFailure("infect failed", seen="exit status 1")
    assert "first in test_1" in str(caught.value)
    assert "infect failed" in str(caught.value)
    with failures.remembered("nixos", "dev", "01", by="test_3"):
        pass  # another digest is another build


def test_a_cloud_init_of_its_own_has_stages_of_its_own() -> None:
    """The other VMs of the fleet keep theirs."""
    inputs = run_inputs()
    fleet = load_fleet(ROOT / "fleet.toml")
    other = fleet.vms["dev"].cloud_init.model_copy(update={"user_data": "#other\n"})
    changed = inputs.with_cloud_init("dev", other)
    before, after = (Testbed(inputs=i, progress=Steps()) for i in (inputs, changed))
    digests = [bed.stages.digest("cloud", "dev") for bed in (before, after)]
    assert digests[0] != digests[1]
    digests = [bed.stages.digest("cloud", "openclaw") for bed in (before, after)]
    assert digests[0] == digests[1]
