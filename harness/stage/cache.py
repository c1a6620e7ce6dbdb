"""Stages on disk: built once under a lock, restored as often as needed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from harness import host
from harness.machine import Machine, launch_microvm, restore
from harness.qemu import cmdline, seed, snapshot
from harness.shell import HostSystem, recipe
from harness.stage import graph, microvm
from harness.stage.build import StageBuild
from harness.stage.entry import FORMAT, MANIFEST, Cached, demand_whole, whole
from harness.stage.route import route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.image import Progress
    from harness.site import Site
    from harness.stage.graph import Stage
    from harness.stage.inputs import RunInputs


def stages_home() -> Path:
    """Return the directory of this user's stages, made if it is not there."""
    home = host.cache_dir() / "stages"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home


@dataclass(frozen=True, slots=True)
class StageCache:
    """The states of a run's machines at each stage, by the digest of their inputs.

    All workers of a run, and all runs of a user, share one lock per stage.
    """

    inputs: RunInputs
    progress: Progress
    home: Path = field(default_factory=stages_home)

    def digest(self, stage: str, vm: str) -> str:
        """Digest everything that the state of `vm` at `stage` is a function of."""
        return self._digest(route(self.inputs, stage, vm), vm)

    def ensure(self, stage: str, vm: str) -> Path:
        """Return the directory of a saved stage; build it and its parents if need be.

        Of a microvm it is that of the host's system which the stage was turned into.
        """
        saved = self._ensure(route(self.inputs, stage, vm), vm)
        if not self.inputs.as_microvm(vm):
            return saved
        home = self.place(stage, vm)
        build = self._build(f"{stage}+{microvm.NAME}", vm, home)
        return self._checked(_once(home, lambda: build.export(saved)))

    def place(self, stage: str, vm: str) -> Path:
        """Return where `ensure` has or makes the state of `vm` at `stage`."""
        way = route(self.inputs, stage, vm)
        saved = self._home(way, vm)
        if not self.inputs.as_microvm(vm):
            return saved
        name = f"{stage}+{microvm.NAME}"
        return self.home / f"{name}-{vm}-{microvm.digest(saved)}"

    @contextmanager
    def machine(
        self, stage: str, vm: str, site: Site, directory: Path
    ) -> Iterator[Machine]:
        """Run a private copy of the machine `vm` at `stage` on a site."""
        saved = self.ensure(stage, vm)
        inputs = self.inputs
        place = (directory, inputs.accelerator)
        hooks, lab = inputs.hooks(vm), inputs.fleet.lab
        if inputs.as_microvm(vm):
            system = HostSystem.read(saved)
            with launch_microvm(
                *(inputs.vm(vm), site, system, *place), hooks=hooks, lab=lab
            ) as machine:
                graph.settle(machine, inputs)
                yield machine
            return
        with restore(
            *(saved, inputs.vm(vm), site, *place), hooks=hooks, lab=lab
        ) as machine:
            yield machine

    def _ensure(self, route: Sequence[Stage], vm: str) -> Path:
        home = self._home(route, vm)

        def build() -> None:
            parent = self._ensure(route[:-1], vm) if route[:-1] else None
            self._build(route[-1].name, vm, home).advance(route[-1], parent)

        return self._checked(_once(home, build))

    def _home(self, route: Sequence[Stage], vm: str) -> Path:
        return self.home / f"{route[-1].name}-{vm}-{self._digest(route, vm)}"

    def _build(self, name: str, vm: str, home: Path) -> StageBuild:
        return StageBuild(name, vm, home, self.inputs, self.progress, code_digest())

    def _checked(self, home: Path) -> Path:
        """Return a stage that is what was stored, as all that it is based on."""
        demand_whole(home, self.inputs.image)
        return home

    def _digest(self, route: Sequence[Stage], vm: str) -> str:
        inputs, fleet = self.inputs, self.inputs.fleet
        facts = {
            "stages": [stage.name for stage in route],
            "code": code_digest(),
            "vm": inputs.vm(vm).model_dump(mode="json"),
            "network": fleet.network.model_dump(mode="json"),
            "lab": fleet.lab.model_dump(mode="json", exclude={"change"}),
            "migration": fleet.migration and fleet.migration.model_dump(mode="json"),
            "image": inputs.image.digest,
            "qemu": host.qemu_version(),
            "accelerator": (inputs.accelerator.name, inputs.accelerator.cpu),
            "processor": processor(inputs.accelerator.cpu),
        }
        fault = inputs.fault_of(vm)
        if fault is not None and any("+" in stage.name for stage in route):
            facts["fault"] = fault.digest
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def processor(cpu: str) -> str:
    """Digest this computer's processor where the guest sees it (`-cpu host`).

    A state that was saved on another one cannot be continued. Empty for other models.
    """
    if cpu != "host":
        return ""
    described = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    kept = ("vendor_id", "cpu family", "model", "stepping", "flags")
    lines = [line for line in described if line.startswith(kept)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def code_digest() -> str:
    """Digest the code that decides what a saved machine looks like."""
    digest = hashlib.sha256()
    for module in (graph, recipe, cmdline, seed, snapshot):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


def _once(home: Path, build: Callable[[], None]) -> Path:
    """Build what is not there yet; a second process waits for the first one's."""
    if whole(home):
        return home
    with FileLock(f"{home}.lock"):
        if not whole(home):
            build()
    return home


def cached() -> list[Cached]:
    """List what is built, oldest first."""
    entries = [Cached.read(manifest.parent) for manifest in _manifests()]
    whole = [entry for entry in entries if entry is not None]
    return sorted(whole, key=lambda entry: entry.built)


def damaged() -> list[Path]:
    """List the directories of stages whose manifest is no whole one."""
    places = [manifest.parent for manifest in _manifests()]
    return sorted(place for place in places if Cached.read(place) is None)


def _manifests() -> Iterator[Path]:
    return stages_home().glob(f"*/{MANIFEST}")


def places() -> list[Path]:
    """List the directories of all stages: built, damaged, unfinished, failed."""
    return sorted(path for path in stages_home().iterdir() if path.is_dir())


def remove(place: Path) -> None:
    """Remove a stage; machines that were restored from it lose their disk."""
    shutil.rmtree(place)
    place.with_name(f"{place.name}.lock").unlink(missing_ok=True)


def key() -> str:
    """Digest what all stages that are made on this computer depend on, specs left out.

    That is the format of the cache, code, QEMU, and the processor where there is KVM.
    """
    kvm = os.access("/dev/kvm", os.R_OK | os.W_OK)
    seen = processor("host" if kvm else "")
    facts = (FORMAT, code_digest(), host.qemu_version(), seen)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
