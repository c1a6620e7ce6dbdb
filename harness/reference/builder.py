"""Build the reference image: packages, disk, boot loader, qcow2, manifest."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from filelock import FileLock, Timeout

from harness.deadline import Deadline, poll
from harness.errors import HostError, ProcessFailed
from harness.image import checksums
from harness.image.disk import MIB, SECTOR, boot_sectors
from harness.image.shelf import DISK, DRAFT, FILES, KERNEL, SCHEMA, Image, digest_of
from harness.process import STDOUT, Popen, run, spawn
from harness.reference import manifest as manifests
from harness.reference.mirror import Mirror, find_mirror
from harness.reference.recipe import Workshop, hook_environment, leash, mmdebstrap
from harness.runtime import sweep_runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from harness.image.shelf import Progress, Shelf
    from harness.reference.recipe import ImageRecipe

BUILD_S = 1800.0
_WORKSHOP = "vm-acceptance-image-"
_LOCK = "lock"
_NEEDED_BYTES = 4 << 30
_LOG_LINES = 25
_PROGRESS = "I: "
# mmdebstrap's own lines about hooks; the hooks announce themselves.
_NOISE = ("running --", "running special hook", "skipping ", "using /", "chroot arch")


@dataclass(frozen=True, slots=True)
class _Job:
    recipe: ImageRecipe
    shelf: Shelf
    mirror: Mirror
    progress: Progress
    deadline: Deadline


def build(
    recipe: ImageRecipe, shelf: Shelf, progress: Progress, *, again: bool
) -> Image:
    """Build the image of `recipe`, or take the one that another run just built.

    `again` asks the mirror again; unchanged packages give the old image.
    Raises HostError, ProcessFailed, DeadlineExpired.
    """
    shelf.directory.mkdir(parents=True, exist_ok=True)
    shelf.debs.mkdir(exist_ok=True)
    deadline = Deadline.after(BUILD_S, "the reference image")
    digest = recipe.digest
    with _locked(shelf, progress, deadline):
        known = shelf.find(digest)
        if known is not None and not again:
            return known
        progress.step("asking apt for a Debian mirror")
        job = _Job(recipe, shelf, find_mirror(os.environ, deadline), progress, deadline)
        return _build(job, digest, known)


@contextmanager
def shelving(shelf: Shelf, progress: Progress) -> Iterator[Path]:
    """Give a directory that the shelf can take, while no other process changes it."""
    shelf.directory.mkdir(parents=True, exist_ok=True)
    deadline = Deadline.after(BUILD_S, "another build of the image")
    with (
        _locked(shelf, progress, deadline),
        tempfile.TemporaryDirectory(prefix=DRAFT, dir=shelf.directory) as new,
    ):
        made = Path(new) / "image"
        made.mkdir(mode=0o700)
        yield made


@contextmanager
def _locked(shelf: Shelf, progress: Progress, deadline: Deadline) -> Iterator[None]:
    lock = FileLock(shelf.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.step("another run is building the image, waiting for it")
        try:
            lock.acquire(timeout=deadline.remaining)
        except Timeout as error:
            raise deadline.error(f"{shelf.lock} is held by another process") from error
    try:
        yield
    finally:
        lock.release()


def _build(job: _Job, digest: str, known: Image | None) -> Image:
    began = datetime.now(UTC)
    with _workshop(job) as workshop:
        _make_tree(job, workshop)
        resolution = manifests.resolved(workshop.out)
        same = known is not None and known.manifest["resolved"] == resolution
        if known is not None and same and not known.damage():
            job.progress.step("no package has changed, keeping the image")
            return known
        with tempfile.TemporaryDirectory(prefix=DRAFT, dir=job.shelf.directory) as new:
            made = Path(new) / "image"
            made.mkdir(mode=0o700)
            _convert(job, workshop, made)
            facts = _describe(job, workshop, made)
            kernel = facts["files"][KERNEL]["sha256"]
            image_digest = digest_of(digest, resolution, facts["content"], kernel)
            took = (datetime.now(UTC) - began).total_seconds()
            image = job.shelf.put(
                made,
                {
                    "schema": SCHEMA,
                    "digest": image_digest,
                    "recipe": digest,
                    "resolved": resolution,
                    "built": began.isoformat(timespec="seconds"),
                    "duration_s": round(took, 1),
                    **facts,
                },
            )
    job.shelf.pin(digest, image)
    _prune_debs(job.shelf, resolution)
    job.progress.step(
        f"image built in {took:.0f} s: {manifests.summary(image.manifest)}"
    )
    return image


@contextmanager
def _workshop(job: _Job) -> Iterator[Workshop]:
    base = Path(os.environ.get("TMPDIR", "/var/tmp"))  # noqa: S108 (mkdtemp below)
    # First what killed runs left: it may be what fills the disk.
    sweep_runs()
    for left in base.glob(f"{_WORKSHOP}*"):
        _sweep(left, job.progress)
    for left in job.shelf.sweep():
        job.progress.step(f"removed what a killed build left: {left}")
    for place in (base, job.shelf.directory):
        _demand_room(place)
    directory = Path(tempfile.mkdtemp(prefix=_WORKSHOP, dir=base))
    with _held(directory), _raw_disk(directory / "out/disk.raw", job) as disk_fd:
        yield Workshop(directory, job.shelf.debs, disk_fd)


def _demand_room(place: Path) -> None:
    free = shutil.disk_usage(place).free
    if free < _NEEDED_BYTES:
        raise HostError(
            f"too little room to build an image: {free // MIB} MiB free in {place},"
            f" {_NEEDED_BYTES // MIB} MiB needed",
            hint="free some, or set TMPDIR and HARNESS_CACHE to places with more",
        )


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Hold the workshop's lock, by which other builds see that its builder lives."""
    directory.chmod(0o711)
    try:
        with FileLock(directory / _LOCK):
            yield
    finally:
        _remove(directory)


def _sweep(directory: Path, progress: Progress) -> None:
    """Remove a workshop that a killed build left behind; keep those of other users."""
    if directory.stat().st_uid != os.getuid():
        return
    try:
        with FileLock(directory / _LOCK, timeout=0):
            progress.step(f"removing what a killed build left: {directory}")
            _remove(directory)
    except Timeout:
        return


def _remove(directory: Path) -> None:
    """Remove a workshop, and what in it belongs to the user namespace's users."""
    shutil.rmtree(directory, ignore_errors=True)
    for left in directory.glob("mmdebstrap.*"):
        run(
            ["mmdebstrap", "--unshare-helper", "rm", "-rf", str(left)],
            deadline=Deadline.after(60, f"removing {left}"),
        )
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _raw_disk(disk: Path, job: _Job) -> Iterator[int]:
    """Make an empty partitioned disk; yields a descriptor that a child inherits."""
    disk.parent.mkdir(mode=0o700)
    with disk.open("x+b") as file:
        file.truncate(job.recipe.layout.size)
        # Reopened through the descriptor by another user, behind a closed directory.
        os.fchmod(file.fileno(), 0o666)
        run(
            ["sfdisk", "--quiet", str(disk)],
            stdin=job.recipe.layout.sfdisk.encode(),
            deadline=job.deadline.sub(30, "sfdisk"),
        ).check()
        yield file.fileno()


def _make_tree(job: _Job, workshop: Workshop) -> None:
    _copy_recipe(job.recipe, workshop.recipe)
    # Where apt in the user namespace can read them: the cache is closed to it.
    keys = workshop.directory / "debian-keys.gpg"
    shutil.copyfile(job.mirror.keyring, keys)
    keys.chmod(0o644)
    argv = [
        *leash(root=os.geteuid() == 0),
        *mmdebstrap(job.recipe, workshop, job.mirror, keys),
    ]
    environment = hook_environment(job.recipe, workshop, job.mirror)
    log = workshop.out / "build.log"
    with (
        log.open("wb") as output,
        spawn(
            argv,
            stdout=output,
            stderr=STDOUT,
            env={**calm(os.environ), **environment},
            cwd=workshop.directory,
            pass_fds=(workshop.disk_fd,),
        ) as process,
        _no_survivors(process),
    ):
        status = _follow(process, log, job)
    if status != 0:
        lines = log.read_text(errors="replace").splitlines()
        kept = job.shelf.directory / "failed-build.log"
        shutil.copyfile(log, kept)
        raise ProcessFailed(
            f"mmdebstrap could not build the image (exit status {status})",
            evidence=[line for line in lines if line][-_LOG_LINES:],
            hint=f"the whole log is {kept}",
        )


def calm(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out what would change the bytes that tools write: Python's, for one."""
    changing = ("SOURCE_DATE_EPOCH", "E2FSPROGS_", "MKE2FS_", "PYTHON", "TZ")
    return {k: v for k, v in environment.items() if not k.startswith(changing)}


@contextmanager
def _no_survivors(process: Popen[bytes]) -> Iterator[None]:
    """Kill a build that is given up with all its descendants.

    On SIGTERM, mmdebstrap only waits for the apt and dpkg that it is running.
    """
    try:
        yield
    finally:
        if process.poll() is None:
            family = psutil.Process(process.pid)
            for descendant in [*family.children(recursive=True), family]:
                with suppress(psutil.NoSuchProcess):
                    descendant.kill()


def _copy_recipe(recipe: ImageRecipe, target: Path) -> None:
    for path in recipe.files():
        copy = target / path.relative_to(recipe.root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy, follow_symlinks=False)
        if not copy.is_symlink():
            copy.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    for directory in (target, *(path for path in target.rglob("*") if path.is_dir())):
        directory.chmod(0o755)


def _follow(process: Popen[bytes], log: Path, job: _Job) -> int:
    """Pass the log's announcements on as they come; return the exit status."""
    with log.open(errors="replace") as lines:

        def look() -> int | None:
            status = process.poll()  # before the last look into the log
            for said in announcements(lines):
                job.progress.step(said)
            return status

        return poll(look, job.deadline, interval=0.2)


def announcements(lines: Iterable[str]) -> Iterator[str]:
    """Yield what a build's log lines announce, without mmdebstrap's own lines."""
    for line in lines:
        said = line.removeprefix(_PROGRESS).rstrip().removesuffix("...")
        if line.startswith(_PROGRESS) and not said.startswith(_NOISE):
            yield said


def _convert(job: _Job, workshop: Workshop, made: Path) -> None:
    out = workshop.out
    gap = job.recipe.layout.boot.offset
    with workshop.disk.open("r+b") as disk:
        core, boot = (out / "core.img").read_bytes(), (out / "boot.img").read_bytes()
        head = boot_sectors(disk.read(SECTOR), boot, core, gap)
        disk.seek(0)
        disk.write(head)
    job.progress.step("converting the disk to qcow2")
    source, target = str(workshop.disk), str(made / DISK)
    run(
        [
            *("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "compat=1.1"),
            *(source, target),
        ],
        deadline=job.deadline,
    ).check()
    for name in (KERNEL, "build.log"):
        shutil.copyfile(out / name, made / name)


def _describe(job: _Job, workshop: Workshop, made: Path) -> dict[str, Any]:
    image = made / DISK
    deadline = job.deadline.sub(60, "versions of tools")
    tools = ("mmdebstrap", "qemu-img", "sfdisk")
    said = {tool: run([tool, "--version"], deadline=deadline).stdout for tool in tools}
    return {
        "content": checksums.content_of(workshop.disk),
        "files": checksums.sums_of(made, FILES),
        "bytes": image.stat().st_size,
        "virtual_bytes": job.recipe.layout.size,
        "layout": asdict(job.recipe.layout),
        "file_systems": manifests.file_systems(workshop.disk, job.recipe.layout),
        "tools": {tool: manifests.tool_version(text) for tool, text in said.items()},
    }


def _prune_debs(shelf: Shelf, resolution: dict[str, Any]) -> None:
    """Remove downloaded packages that the newest build did not use."""
    wanted = manifests.deb_names(resolution)
    for deb in shelf.debs.glob("*.deb"):
        if deb.name not in wanted:
            deb.unlink()
