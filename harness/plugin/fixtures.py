"""Fixtures: a few lines each over the library's context managers.

Rooms below are imported when a fixture is used, so that the instrument's own tests
start fast and need none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import InputError
from harness.plugin import budget
from harness.plugin.markers import subject_of
from harness.plugin.options import SETTINGS
from harness.plugin.run import EMULATED, IMAGE, RUN, current
from harness.runtime import runtime_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.evidence import Recorder
    from harness.fault import Fault
    from harness.fleet import Budgets, Fleet
    from harness.host import Accelerator
    from harness.image import Image
    from harness.machine import Machine
    from harness.shell import Units
    from harness.site import Site
    from harness.testbed import MachineFactory, Testbed


@pytest.fixture(scope="session")
def fleet(pytestconfig: pytest.Config) -> Fleet:
    """Load the spec that `--fleet` names, as a frozen model."""
    from harness.testbed import load_spec  # noqa: PLC0415 - see the module's docstring

    settings = pytestconfig.stash[SETTINGS]
    loaded = load_spec(settings.fleet, settings.fault)
    if run := pytestconfig.stash.get(RUN, None):
        run.fact("spec_digest", loaded.digest)
        run.fact("scaled", list(loaded.scaled))
    return loaded


@pytest.fixture(scope="session")
def budgets(fleet: Fleet) -> Budgets:
    """Give the spec's thresholds: no suite compares with any other number."""
    return fleet.budgets


@pytest.fixture(scope="session")
def image(pytestconfig: pytest.Config) -> Image:
    """Build, or take from the cache, the base image that `--guest` names."""
    from harness import reference  # noqa: PLC0415 - see the module's docstring

    settings, run = pytestconfig.stash[SETTINGS], pytestconfig.stash[RUN]
    if settings.guest != "reference":
        raise InputError(
            f"--guest {settings.guest}: only the reference guest can be judged so far"
        )
    built = pytestconfig.stash[IMAGE] = reference.image(run)
    run.fact("image:reference", built.digest)
    return built


@pytest.fixture(scope="session")
def accelerator(pytestconfig: pytest.Config, image: Image) -> Accelerator:
    """Choose how QEMU runs guest code, by booting the image's kernel."""
    from harness import host  # noqa: PLC0415 - see the module's docstring
    from harness.testbed import choose_accelerator  # noqa: PLC0415 - same

    settings, run = pytestconfig.stash[SETTINGS], pytestconfig.stash[RUN]
    chosen = choose_accelerator(settings.accel, image)
    pytestconfig.stash[budget.PATIENCE] = chosen.patience
    pytestconfig.stash[EMULATED] = chosen.name == "tcg"
    run.fact("accel", chosen.name)
    run.fact("accel_reason", chosen.reason)
    run.fact("speed_factor", chosen.patience)
    run.fact("qemu", host.qemu_version())
    return chosen


@pytest.fixture(scope="session")
def fault(pytestconfig: pytest.Config) -> Fault | None:
    """Give the known-bad variant that `--fault` names; None on a healthy run."""
    return pytestconfig.stash[SETTINGS].fault


@pytest.fixture(scope="session")
def _process_directory() -> Iterator[Path]:
    from harness import host  # noqa: PLC0415 - see the module's docstring
    from harness.image.users import in_use  # noqa: PLC0415 - same

    with in_use(host.cache_dir()), runtime_directory() as directory:
        yield directory


@pytest.fixture
def _test_directory(
    _process_directory: Path,
) -> Iterator[Path]:
    # Short on purpose: sockets below it have 107 bytes for all of their path.
    import shutil  # noqa: PLC0415 - a fixture module keeps its imports few

    directory = _process_directory / str(len(list(_process_directory.iterdir())))
    directory.mkdir(mode=0o700)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def units(pytestconfig: pytest.Config) -> Units | None:
    """Read the units that `--adopt-unit` names; None where our life cycle is used."""
    from harness.shell import read  # noqa: PLC0415 - as above

    settings = pytestconfig.stash[SETTINGS]
    return read(settings.units, settings.adopted) if settings.units else None


@pytest.fixture(scope="session")
def testbed(
    pytestconfig: pytest.Config,
    fleet: Fleet,
    image: Image,
    accelerator: Accelerator,
    fault: Fault | None,
    units: Units | None,
) -> Testbed:
    """Give what all sites and machines of the run are made from."""
    from harness.stage import RunInputs  # noqa: PLC0415 - as above
    from harness.testbed import BuildFailures, Testbed  # noqa: PLC0415 - as above

    run = pytestconfig.stash[RUN]
    return Testbed(
        inputs=RunInputs(fleet, image, accelerator, fault),
        progress=run,
        units=units,
        adopted=pytestconfig.stash[SETTINGS].adopted,
        failures=BuildFailures(run.journal.directory),
    )


@pytest.fixture
def site(fleet: Fleet, fault: Fault | None, _test_directory: Path) -> Iterator[Site]:
    """Open the stand-in for fw and its LAN; nothing in it can reach outside."""
    from harness.testbed import open_site  # noqa: PLC0415 - see the module's docstring

    with open_site(fleet, fault, _test_directory) as opened:
        yield opened


@pytest.fixture
def machine_factory(
    request: pytest.FixtureRequest, testbed: Testbed, site: Site, _test_directory: Path
) -> Iterator[MachineFactory]:
    """Give machines by `machine_factory(stage="onboarded", vm="dev")`."""
    from harness.plugin.machines import UsedMachines  # noqa: PLC0415 - as above

    stage, observer = subject_of(request.node).stage, UsedMachines(request.node)
    with testbed.machines(
        site, _test_directory, stage=stage, observer=observer
    ) as factory:
        yield factory


@pytest.fixture
def dev(machine_factory: MachineFactory, fleet: Fleet) -> Machine:
    """Give the machine under migration at the stage that the test is marked with."""
    vm = fleet.migration.vm if fleet.migration else "dev"
    return machine_factory(vm=vm)


@pytest.fixture
def check(request: pytest.FixtureRequest) -> Recorder:
    """Record named checks and evidence; failures are reported at the test's end."""
    return current(request.node).recorder
