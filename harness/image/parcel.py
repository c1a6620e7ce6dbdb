"""An image as one file: a tar of its manifest, disk and kernel.

For computers that cannot build one. Nothing in the file is trusted: names other than
the three are refused, and everything is checked against the manifest's checksums.
"""

from __future__ import annotations

import json
import lzma
import shutil
import tarfile
import zlib
from typing import TYPE_CHECKING, Any

from harness.errors import HostError, InputError
from harness.files import read_input, reason, unfit
from harness.image import checksums
from harness.image.shelf import DISK, FILES, KERNEL, MANIFEST, describes_itself

if TYPE_CHECKING:
    from pathlib import Path

    from harness.image.shelf import Image

_NAMES = (MANIFEST, KERNEL, DISK)
# Fast levels: an image has 600 MiB, and better ones save a tenth.
_GZIP: tuple[str, dict[str, int]] = ("w:gz", {"compresslevel": 4})
_MODES = {".gz": _GZIP, ".tgz": _GZIP, ".xz": ("w:xz", {"preset": 1})}
_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)


def export(image: Image, file: Path) -> None:
    """Write an image to a tar, compressed as the file's suffix says (.gz, .xz).

    The file is complete or absent. Raises OSError.
    """
    partial = file.with_name(f".{file.name}.partial")
    mode, options = _MODES.get(file.suffix, ("w", {}))
    try:
        with _opened(partial, mode, options) as tar:
            for name in _NAMES:
                tar.add(image.directory / name, arcname=name, filter=_anonymous)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def unpack(file: Path, into: Path, recipe: str) -> dict[str, Any]:
    """Unpack an exported image of this recipe into a directory; return its manifest.

    Raises InputError when the file is not one, whole and undamaged; HostError when
    there is no room for it.
    """
    if not file.is_file():
        raise unfit(file, "a file that `harness images --export` wrote")
    try:
        with tarfile.open(file) as tar:
            _extract(tar, file, into)
    except _BROKEN as error:
        raise unfit(
            file, f"a tar that `harness images --export` wrote ({reason(error)})"
        ) from None
    return _examined(file, into, recipe)


def _opened(file: Path, mode: Any, options: Any) -> tarfile.TarFile:
    # No overload of tarfile's takes a mode and options that are not literals.
    return tarfile.open(file, mode, format=tarfile.PAX_FORMAT, **options)


def _extract(tar: tarfile.TarFile, file: Path, into: Path) -> None:
    """Copy the three files out; links, devices and other names are refused."""
    for member in tar:
        if member.name not in _NAMES or not member.isreg():
            raise unfit(file, f"only {', '.join(_NAMES)} in it, not {member.name!r}")
        if member.size > shutil.disk_usage(into).free:
            raise HostError(
                f"too little room for {member.name} of {file}",
                hint="free some, or set HARNESS_CACHE to a place with more",
            )
        source = tar.extractfile(member)
        if source is None or (into / member.name).exists():
            raise unfit(file, f"{member.name} in it once")
        with source, (into / member.name).open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)


def _examined(file: Path, into: Path, recipe: str) -> dict[str, Any]:
    missing = [name for name in _NAMES if not (into / name).is_file()]
    if missing:
        raise unfit(file, f"an exported image; {', '.join(missing)} is missing")
    try:
        manifest: dict[str, Any] = json.loads(read_input(into / MANIFEST))
        known = describes_itself(manifest)
    except (InputError, ValueError, KeyError, TypeError, RecursionError):
        known = False
    if not known:
        raise unfit(file, "an image of this format; its manifest is another one's")
    if damages := checksums.damage_of(into, {n: manifest["files"][n] for n in FILES}):
        first = damages[0]
        raise unfit(
            file, f"undamaged; {first.path.name} has {first.seen}, not {first.expected}"
        )
    if manifest["recipe"] != recipe:
        raise unfit(
            file,
            f"an image of this version's recipe, {recipe[:16]}; it was made by recipe"
            f" {manifest['recipe'][:16]}",
        )
    return manifest


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who made a file, and who may read it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member
