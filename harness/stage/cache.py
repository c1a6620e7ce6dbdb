"""Stages on disk: built once under a lock, restored as often as wanted."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from filelock import FileLock

from harness import host
from harness.deadline import Deadline
from harness.errors import GuestPanicked
from harness.machine import (
    HostSystem,
    Machine,
    launch,
    launch_microvm,
    recipe,
    restore,
    save,
)
from harness.qemu import cmdline, seed, snapshot
from harness.runtime import runtime_directory
from harness.site import Site, open_site
from harness.stage import faulty, graph, microvm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.fleet import CloudInit
    from harness.stage.graph import RunInputs, Stage

# A build that takes longer than this (times patience) is a hang.
_BUILD_BUDGET_S = 900.0
_MANIFEST = "stage.json"


class Progress(Protocol):
    """Where live lines go while something slow happens."""

    def step(self, text: str) -> None:
        """Say what is being done now."""


class Machines(Protocol):
    """What suites ask for machines: at a stage, by the VM's name in the spec."""

    def __call__(
        self,
        stage: str | None = None,
        vm: str = "dev",
        cloud_init: CloudInit | None = None,
    ) -> Machine:
        """Give a machine that lives until the end of the test."""

    def recreate(self, machine: Machine) -> None:
        """Remove a machine's state directory and boot it anew from the base image."""


@dataclass(frozen=True, slots=True)
class Cached:
    """One built stage on disk; `bytes` is what it really occupies."""

    path: Path
    stage: str
    vm: str
    digest: str
    built: float
    build_s: float
    retries: int
    bytes: int


def stage_digest(stage: str, vm: str, inputs: RunInputs) -> str:
    """Digest everything that the state of `vm` at `stage` is a function of."""
    return _digest(faulty.route(stage, vm, inputs), vm, inputs)


def _digest(route: Sequence[Stage], vm: str, inputs: RunInputs) -> str:
    facts = {
        "stages": [stage.name for stage in route],
        "code": _code_digest(),
        "vm": inputs.vm(vm).model_dump(mode="json"),
        "network": inputs.fleet.network.model_dump(mode="json"),
        "lab": inputs.fleet.lab.model_dump(mode="json", exclude={"change"}),
        "migration": inputs.fleet.migration
        and inputs.fleet.migration.model_dump(mode="json"),
        "image": inputs.image.digest,
        "qemu": host.qemu_version(),
        "accelerator": (inputs.accelerator.name, inputs.accelerator.cpu),
    }
    fault = faulty.fault_of(vm, inputs)
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


def ensure(stage: str, vm: str, inputs: RunInputs, progress: Progress) -> Path:
    """Return the directory of a saved stage, building it and its parents if need be.

    In the old world it is that of the host's system which the stage was turned into.
    All workers of a run, and all runs of a user, share one lock per stage.
    """
    saved = _ensure(faulty.route(stage, vm, inputs), vm, inputs, progress)
    if faulty.shell(vm, inputs) != microvm.SHELL:
        return saved
    name = f"{stage}+{microvm.SHELL}"
    home = saved.with_name(f"{name}-{vm}-{microvm.digest(saved)}")

    def build() -> None:
        def attempt() -> None:
            _export(vm, inputs, progress, saved, home)

        _keep(name, vm, progress, home, attempt)

    return _once(home, build)


def _ensure(
    route: Sequence[Stage], vm: str, inputs: RunInputs, progress: Progress
) -> Path:
    home = _home() / f"{route[-1].name}-{vm}-{_digest(route, vm, inputs)}"
    return _once(home, lambda: _build(route, vm, inputs, progress, home))


def _once(home: Path, build: Callable[[], None]) -> Path:
    """Build what is not there yet, whoever else wants it at the same time."""
    if (home / _MANIFEST).exists():
        return home
    with FileLock(f"{home}.lock"):
        if not (home / _MANIFEST).exists():
            build()
    return home


@contextmanager
def machine_at(
    stage: str,
    vm: str,
    *,
    inputs: RunInputs,
    site: Site,
    directory: Path,
    progress: Progress,
) -> Iterator[Machine]:
    """Run a private copy of the machine `vm` at `stage` on a site."""
    saved = ensure(stage, vm, inputs, progress)
    if faulty.shell(vm, inputs) == microvm.SHELL:
        with launch_microvm(
            inputs.vm(vm),
            site,
            HostSystem.read(saved),
            directory,
            inputs.accelerator,
            adapt=faulty.adapter(vm, inputs),
            lab=inputs.fleet.lab,
        ) as machine:
            graph.settle(machine, inputs)
            yield machine
        return
    with restore(
        saved,
        inputs.vm(vm),
        site,
        directory,
        inputs.accelerator,
        adapt=faulty.adapter(vm, inputs),
        lab=inputs.fleet.lab,
    ) as machine:
        yield machine


def cached() -> list[Cached]:
    """List what is built, oldest first."""
    entries = []
    for manifest in _home().glob(f"*/{_MANIFEST}"):
        facts = json.loads(manifest.read_text())
        size = sum(p.lstat().st_blocks * 512 for p in manifest.parent.rglob("*"))
        entries.append(Cached(path=manifest.parent, bytes=size, **facts))
    return sorted(entries, key=lambda entry: entry.built)


def clean(*, keep: frozenset[str] = frozenset()) -> list[Path]:
    """Remove every built stage whose digest is not in `keep`; return what went."""
    gone = []
    for home in sorted(_home().iterdir()):
        if home.is_dir() and home.name.rpartition("-")[2] not in keep:
            shutil.rmtree(home)
            gone.append(home)
    for lock in _home().glob("*.lock"):
        lock.unlink()
    return gone


def _home() -> Path:
    home = host.cache_dir() / "stages"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home


def _build(
    route: Sequence[Stage], vm: str, inputs: RunInputs, progress: Progress, home: Path
) -> None:
    """Build a stage into `home`, after its parent."""
    stage = route[-1]
    parent = _ensure(route[:-1], vm, inputs, progress) if route[:-1] else None

    def attempt() -> None:
        _attempt(stage, vm, inputs, progress, parent, home)

    _keep(stage.name, vm, progress, home, attempt)


def _keep(
    name: str, vm: str, progress: Progress, home: Path, attempt: Callable[[], None]
) -> None:
    """Have `home` filled, with one more try after a panic of the emulator.

    Under TCG about 1 boot in 130 panics through no fault of the guest
    (`docs/machine.md`); the retry is counted in the manifest and never hidden.
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
            progress.step(f"stage {name}: guest panicked, once more ({panic})")
            continue
        break
    manifest = {
        "stage": name,
        "vm": vm,
        "digest": home.name.rpartition("-")[2],
        "built": time.time(),
        "build_s": round(time.monotonic() - started, 1),
        "retries": retries,
    }
    # Last, and only once everything else is in place: its presence is what says so.
    (home / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    progress.step(f"stage {name} of {vm}: built in {manifest['build_s']} s")


def _attempt(
    stage: Stage,
    vm: str,
    inputs: RunInputs,
    progress: Progress,
    parent: Path | None,
    home: Path,
) -> None:
    """Boot or restore, advance, save; leave nothing behind on failure."""
    with _workshop(stage.name, inputs, home) as (site, directory):
        progress.step(f"stage {stage.name} of {vm}: {stage.title}")
        with _start(vm, inputs, site, directory / vm, parent, home) as machine:
            with _evidence(machine, home, progress):
                stage.advance(machine, inputs)
                graph.write_out(machine)
            save(machine, home)


def _export(
    vm: str, inputs: RunInputs, progress: Progress, saved: Path, home: Path
) -> None:
    """Restore a stage and turn it into what a host of the old world has."""
    with (
        _workshop(microvm.SHELL, inputs, home) as (site, directory),
        restore(
            saved,
            inputs.vm(vm),
            site,
            directory / vm,
            inputs.accelerator,
            lab=inputs.fleet.lab,
        ) as machine,
        _evidence(machine, home, progress),
    ):
        progress.step(f"{vm}: its store and kernel become those of a host")
        microvm.export(machine, home)


@contextmanager
def _workshop(name: str, inputs: RunInputs, home: Path) -> Iterator[tuple[Site, Path]]:
    """Hold an empty `home`, and a site with a directory for what happens on the way."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700)
    budget = _BUILD_BUDGET_S * inputs.accelerator.patience
    deadline = Deadline.after(budget, f"stage {name}")
    with (
        runtime_directory() as directory,
        open_site(inputs.fleet.network, directory / "site", deadline=deadline) as site,
    ):
        yield site, directory


@contextmanager
def _evidence(machine: Machine, home: Path, progress: Progress) -> Iterator[None]:
    """Keep what a machine said when it did not get to the stage."""
    try:
        yield
    except Exception:
        into = home.with_name(f"{home.name}.failed")
        shutil.rmtree(into, ignore_errors=True)
        machine.collect(into)
        progress.step(f"what {machine.name} said is kept in {into}")
        raise


@contextmanager
def _start(
    vm: str,
    inputs: RunInputs,
    site: Site,
    directory: Path,
    parent: Path | None,
    home: Path,
) -> Iterator[Machine]:
    """Boot the base image, or restore the parent, with RAM that can be saved again."""
    if parent is None:
        with launch(
            inputs.vm(vm),
            site,
            inputs.image.path,
            directory,
            inputs.accelerator,
            save_into=home,
            lab=inputs.fleet.lab,
        ) as machine:
            yield machine
    else:
        with restore(
            parent,
            inputs.vm(vm),
            site,
            directory,
            inputs.accelerator,
            save_into=home,
            lab=inputs.fleet.lab,
        ) as machine:
            yield machine
