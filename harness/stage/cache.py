"""Stages on disk: built once under a lock, thawed as often as wanted."""

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
    freeze,
    launch,
    launch_microvm,
    recipe,
    thaw,
)
from harness.qemu import cmdline, seed, snapshot
from harness.runtime import runtime_directory
from harness.site import Site, open_site
from harness.stage import graph, oldworld, spoiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.spec import CloudInit
    from harness.stage.graph import Ground, Stage

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


def stage_digest(stage: str, vm: str, ground: Ground) -> str:
    """Digest everything that the state of `vm` at `stage` is a function of."""
    return _digest(spoiled.route(stage, vm, ground), vm, ground)


def _digest(route: Sequence[Stage], vm: str, ground: Ground) -> str:
    inputs = {
        "stages": [stage.name for stage in route],
        "code": _code_digest(),
        "vm": ground.vm(vm).model_dump(mode="json"),
        "network": ground.fleet.network.model_dump(mode="json"),
        "lab": ground.fleet.lab.model_dump(mode="json", exclude={"change"}),
        "migration": ground.fleet.migration
        and ground.fleet.migration.model_dump(mode="json"),
        "image": ground.image.digest,
        "qemu": host.qemu_version(),
        "accelerator": (ground.accelerator.name, ground.accelerator.cpu),
    }
    fault = spoiled.fault_of(vm, ground)
    if fault is not None and any("+" in stage.name for stage in route):
        inputs["fault"] = fault.digest
    text = json.dumps(inputs, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _code_digest() -> str:
    """Digest the code that decides what a frozen machine looks like."""
    digest = hashlib.sha256()
    for module in (graph, recipe, cmdline, seed, snapshot):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


def ensure(stage: str, vm: str, ground: Ground, progress: Progress) -> Path:
    """Return the directory of a frozen stage, building it and its parents if need be.

    In the old world it is that of the host's system which the stage was turned into.
    All workers of a run, and all runs of a user, share one lock per stage.
    """
    frozen = _ensure(spoiled.route(stage, vm, ground), vm, ground, progress)
    if spoiled.shell(vm, ground) != oldworld.SHELL:
        return frozen
    name = f"{stage}+{oldworld.SHELL}"
    home = frozen.with_name(f"{name}-{vm}-{oldworld.digest(frozen)}")

    def build() -> None:
        def attempt() -> None:
            _export(vm, ground, progress, frozen, home)

        _keep(name, vm, progress, home, attempt)

    return _once(home, build)


def _ensure(
    route: Sequence[Stage], vm: str, ground: Ground, progress: Progress
) -> Path:
    home = _home() / f"{route[-1].name}-{vm}-{_digest(route, vm, ground)}"
    return _once(home, lambda: _build(route, vm, ground, progress, home))


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
    ground: Ground,
    site: Site,
    directory: Path,
    progress: Progress,
) -> Iterator[Machine]:
    """Run a private copy of the machine `vm` at `stage` on a site."""
    frozen = ensure(stage, vm, ground, progress)
    if spoiled.shell(vm, ground) == oldworld.SHELL:
        with launch_microvm(
            ground.vm(vm),
            site,
            HostSystem.read(frozen),
            directory,
            ground.accelerator,
            adapt=spoiled.adapter(vm, ground),
            lab=ground.fleet.lab,
        ) as microvm:
            graph.settle(microvm, ground)
            yield microvm
        return
    with thaw(
        frozen,
        ground.vm(vm),
        site,
        directory,
        ground.accelerator,
        adapt=spoiled.adapter(vm, ground),
        lab=ground.fleet.lab,
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
    route: Sequence[Stage], vm: str, ground: Ground, progress: Progress, home: Path
) -> None:
    """Build a stage into `home`, after its parent."""
    stage = route[-1]
    parent = _ensure(route[:-1], vm, ground, progress) if route[:-1] else None

    def attempt() -> None:
        _attempt(stage, vm, ground, progress, parent, home)

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
    ground: Ground,
    progress: Progress,
    parent: Path | None,
    home: Path,
) -> None:
    """Boot or thaw, advance, freeze; leave nothing behind on failure."""
    with _workshop(stage.name, ground, home) as (site, directory):
        progress.step(f"stage {stage.name} of {vm}: {stage.title}")
        with _start(vm, ground, site, directory / vm, parent, home) as machine:
            with _evidence(machine, home, progress):
                stage.advance(machine, ground)
                graph.write_out(machine)
            freeze(machine, home)


def _export(
    vm: str, ground: Ground, progress: Progress, frozen: Path, home: Path
) -> None:
    """Thaw a stage and turn it into what a host of the old world has."""
    with (
        _workshop(oldworld.SHELL, ground, home) as (site, directory),
        thaw(
            frozen,
            ground.vm(vm),
            site,
            directory / vm,
            ground.accelerator,
            lab=ground.fleet.lab,
        ) as machine,
        _evidence(machine, home, progress),
    ):
        progress.step(f"{vm}: its store and kernel become those of a host")
        oldworld.export(machine, home)


@contextmanager
def _workshop(name: str, ground: Ground, home: Path) -> Iterator[tuple[Site, Path]]:
    """Hold an empty `home`, and a site with a directory for what happens on the way."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700)
    budget = _BUILD_BUDGET_S * ground.accelerator.patience
    deadline = Deadline.after(budget, f"stage {name}")
    with (
        runtime_directory() as directory,
        open_site(ground.fleet.network, directory / "site", deadline=deadline) as site,
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
    ground: Ground,
    site: Site,
    directory: Path,
    parent: Path | None,
    home: Path,
) -> Iterator[Machine]:
    """Boot the base image, or thaw the parent, with RAM that can be frozen again."""
    if parent is None:
        with launch(
            ground.vm(vm),
            site,
            ground.image.path,
            directory,
            ground.accelerator,
            freezable=home,
            lab=ground.fleet.lab,
        ) as machine:
            yield machine
    else:
        with thaw(
            parent,
            ground.vm(vm),
            site,
            directory,
            ground.accelerator,
            freezable=home,
            lab=ground.fleet.lab,
        ) as machine:
            yield machine
