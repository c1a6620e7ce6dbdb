"""Stages on disk: built once under a lock, restored as often as needed."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from harness import host
from harness.errors import InputError
from harness.files import read_input
from harness.machine import Machine, launch_microvm, restore
from harness.qemu import cmdline, seed, snapshot
from harness.shell import HostSystem, recipe
from harness.stage import graph, microvm
from harness.stage.build import MANIFEST, StageBuild
from harness.stage.route import route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.image import Progress
    from harness.site import Site
    from harness.stage.graph import Stage
    from harness.stage.inputs import RunInputs


@dataclass(frozen=True, slots=True)
class Cached:
    """One built stage on disk, as its manifest says.

    `built` is seconds since 1970, `retries` counts panics of the emulated kernel.
    """

    path: Path
    stage: str
    vm: str
    digest: str
    built: float
    build_s: float
    retries: int

    @classmethod
    def read(cls, home: Path) -> Cached | None:
        """Read a stage's manifest; None where there is none, or no whole one."""
        try:
            facts = json.loads(read_input(home / MANIFEST))
            return cls(
                home,
                stage=str(facts["stage"]),
                vm=str(facts["vm"]),
                digest=str(facts["digest"]),
                built=float(facts["built"]),
                build_s=float(facts["build_s"]),
                retries=int(facts["retries"]),
            )
        except (InputError, ValueError, KeyError, TypeError, RecursionError):
            return None

    @property
    def bytes(self) -> int:
        """What it occupies, in blocks."""
        return occupied(self.path)


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
        name = f"{stage}+{microvm.NAME}"
        home = self.home / f"{name}-{vm}-{microvm.digest(saved)}"
        build = StageBuild(name, vm, home, self.inputs, self.progress)
        return _once(home, lambda: build.export(saved))

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
        stage = route[-1]
        home = self.home / f"{stage.name}-{vm}-{self._digest(route, vm)}"

        def build() -> None:
            parent = self._ensure(route[:-1], vm) if route[:-1] else None
            building = StageBuild(stage.name, vm, home, self.inputs, self.progress)
            building.advance(stage, parent)

        return _once(home, build)

    def _digest(self, route: Sequence[Stage], vm: str) -> str:
        inputs, fleet = self.inputs, self.inputs.fleet
        facts = {
            "stages": [stage.name for stage in route],
            "code": _code_digest(),
            "vm": inputs.vm(vm).model_dump(mode="json"),
            "network": fleet.network.model_dump(mode="json"),
            "lab": fleet.lab.model_dump(mode="json", exclude={"change"}),
            "migration": fleet.migration and fleet.migration.model_dump(mode="json"),
            "image": inputs.image.digest,
            "qemu": host.qemu_version(),
            "accelerator": (inputs.accelerator.name, inputs.accelerator.cpu),
        }
        fault = inputs.fault_of(vm)
        if fault is not None and any("+" in stage.name for stage in route):
            facts["fault"] = fault.digest
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _code_digest() -> str:
    """Digest the code that decides what a saved machine looks like."""
    digest = hashlib.sha256()
    for module in (graph, recipe, cmdline, seed, snapshot):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


def _once(home: Path, build: Callable[[], None]) -> Path:
    """Build what is not there yet; a second process waits for the first one's."""
    if Cached.read(home):
        return home
    with FileLock(f"{home}.lock"):
        if not Cached.read(home):
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


def occupied(directory: Path) -> int:
    """Count the bytes that a directory's files occupy, in blocks."""
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*"))


def _manifests() -> Iterator[Path]:
    return stages_home().glob(f"*/{MANIFEST}")


def clean(*, keep: frozenset[str] = frozenset()) -> list[Path]:
    """Remove every built stage whose digest is not in `keep`; return what went."""
    home, gone = stages_home(), []
    for each in sorted(home.iterdir()):
        if each.is_dir() and each.name.rpartition("-")[2] not in keep:
            shutil.rmtree(each)
            gone.append(each)
    for lock in home.glob("*.lock"):
        lock.unlink()
    return gone
