"""The test bed of a run: it makes its sites and machines."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness import site as sites
from harness.deadline import Deadline
from harness.host import cache_dir
from harness.image.users import in_use
from harness.runtime import runtime_directory
from harness.testbed.machines import MachineFactory, Observer
from harness.testbed.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.fleet import Fleet
    from harness.site import Site
    from harness.stage import Injection

_OPEN_SITE_S = 60.0


@contextmanager
def open_site(fleet: Fleet, fault: Injection | None, directory: Path) -> Iterator[Site]:
    """Open a fleet's network, as a fault alters it; nothing in it reaches outside."""
    deadline = Deadline.after(_OPEN_SITE_S, "the site to open")
    with (
        sites.open_site(
            fleet.network, directory, deadline=deadline, reserved=fleet.addresses
        ) as site,
        fault.alter_network(site) if fault else nullcontext(),
    ):
        yield site


@dataclass(frozen=True, kw_only=True, repr=False)
class Testbed(Parts):
    """Makes sites and machines from the inputs of a run, its fault included."""

    __test__: ClassVar = False  # pytest would collect a class of this name

    @contextmanager
    def machines(
        self,
        site: Site,
        directory: Path,
        *,
        stage: str | None = None,
        observer: Observer | None = None,
    ) -> Iterator[MachineFactory]:
        """Give a factory of machines on a site; they end with the `with`, last first.

        `stage` is the default of the factory's, `observer` is called for each machine.
        """
        with ExitStack() as stack:
            yield MachineFactory(
                testbed=self,
                site=site,
                directory=directory,
                stack=stack,
                stage=stage,
                observer=observer or Observer(),
            )

    @contextmanager
    def open(self, stage: str | None = None) -> Iterator[MachineFactory]:
        """Open a site in a new runtime directory, and give a factory of machines."""
        with (
            in_use(cache_dir()),
            runtime_directory() as directory,
            open_site(self.inputs.fleet, self.inputs.fault, directory) as site,
            self.machines(site, directory, stage=stage) as factory,
        ):
            yield factory
