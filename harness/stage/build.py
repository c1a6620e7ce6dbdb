"""One stage of one machine in the making: boot or restore, advance, save."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from harness.deadline import Deadline
from harness.errors import GuestPanicked
from harness.host import qemu_version
from harness.machine import launch, restore, save
from harness.runtime import runtime_directory
from harness.site import open_site
from harness.stage import entry, graph, microvm
from harness.stage.entry import BelowDisk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.image import Progress
    from harness.machine import Machine
    from harness.site import Site
    from harness.stage.graph import Stage
    from harness.stage.inputs import RunInputs

# A build that takes longer than this (times patience) is a hang.
_BUILD_BUDGET_S = 900.0


@dataclass(frozen=True, slots=True)
class StageBuild:
    """Fills `home` with the state of `vm` at a stage."""

    stage: str
    vm: str
    home: Path
    inputs: RunInputs
    progress: Progress
    code: str
    """The digest of the code that a saved machine depends on."""

    def advance(self, stage: Stage, parent: Path | None) -> None:
        """Take the machine from its parent's state, or the base image, to the stage.

        Raises what the stage raised; the machine's evidence is then in `home.failed`.
        """

        def attempt() -> None:
            self.progress.step(f"stage {stage.name} of {self.vm}: {stage.title}")
            with (
                self._workshop() as (site, directory),
                self._start(site, directory / self.vm, parent) as machine,
            ):
                with self._evidence(machine):
                    stage.advance(machine, self.inputs)
                    graph.write_out(machine)
                save(machine, self.home)

        image = BelowDisk(self.inputs.image.digest)
        self._fill(attempt, image if parent is None else _base(parent))

    def export(self, saved: Path) -> None:
        """Restore a saved stage and turn it into the system of a microvm's host."""

        def attempt() -> None:
            with (
                self._workshop() as (site, directory),
                restore(
                    saved,
                    self.inputs.vm(self.vm),
                    site,
                    directory / self.vm,
                    self.inputs.accelerator,
                    lab=self.inputs.fleet.lab,
                ) as machine,
                self._evidence(machine),
            ):
                self.progress.step(
                    f"{self.vm}: its store and kernel become those of a host"
                )
                microvm.export(machine, self.home)

        self._fill(attempt, BelowDisk(""))

    def _fill(self, attempt: Callable[[], None], base: BelowDisk) -> None:
        """Run an attempt, and a second one after a panic of the emulator.

        Under TCG about 1 boot in 130 panics through no fault of the guest
        (`docs/explanation/machine.md`); the manifest counts the retry.
        """
        started = time.monotonic()
        retries = 0
        while True:
            try:
                attempt()
            except GuestPanicked as panic:
                if retries:
                    raise
                retries += 1
                self.progress.step(
                    f"stage {self.stage}: guest panicked, trying again ({panic})"
                )
                continue
            break
        took = round(time.monotonic() - started, 1)
        facts = {
            "stage": self.stage,
            "vm": self.vm,
            "digest": self.home.name.rpartition("-")[2],
            "built": time.time(),
            "build_s": took,
            "retries": retries,
            "base": asdict(base),
            "image": self.inputs.image.digest,
            "code": self.code,
            "qemu": qemu_version(),
        }
        # Last: a directory without a manifest is an unfinished build.
        entry.write(self.home, facts)
        self.progress.step(f"stage {self.stage} of {self.vm}: built in {took} s")

    @contextmanager
    def _workshop(self) -> Iterator[tuple[Site, Path]]:
        """Empty `home`, and give a site and a directory for the time of the build."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(mode=0o700)
        budget = _BUILD_BUDGET_S * self.inputs.accelerator.patience
        deadline = Deadline.after(budget, f"stage {self.stage}")
        network = self.inputs.fleet.network
        with (
            runtime_directory() as directory,
            open_site(network, directory / "site", deadline=deadline) as site,
        ):
            yield site, directory

    @contextmanager
    def _evidence(self, machine: Machine) -> Iterator[None]:
        """Keep the evidence of a machine that did not reach the stage."""
        try:
            yield
        except Exception:
            into = self.home.with_name(f"{self.home.name}.failed")
            shutil.rmtree(into, ignore_errors=True)
            machine.collect(into)
            self.progress.step(f"evidence of {machine.name} is kept in {into}")
            raise

    @contextmanager
    def _start(
        self, site: Site, directory: Path, parent: Path | None
    ) -> Iterator[Machine]:
        """Boot the base image, or restore the parent, with RAM that can be saved."""
        vm, accelerator = self.inputs.vm(self.vm), self.inputs.accelerator
        lab, home = self.inputs.fleet.lab, self.home
        if parent is None:
            base = self.inputs.image.path
            with launch(
                *(vm, site, base, directory, accelerator), save_into=home, lab=lab
            ) as machine:
                yield machine
        else:
            with restore(
                *(parent, vm, site, directory, accelerator), save_into=home, lab=lab
            ) as machine:
                yield machine


def _base(parent: Path) -> BelowDisk:
    return BelowDisk(parent.name, entry.seal(parent))
