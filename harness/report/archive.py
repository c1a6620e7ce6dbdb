"""A whole report as one zip file; the same report gives the same bytes."""

from __future__ import annotations

import os
import stat
import zipfile
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.evidence import redact
from harness.report.model import RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that the format can say
_MODE = (stat.S_IFREG | 0o644) << 16


def pack(directory: Path, output: Path) -> int:
    """Pack every file of a report into `output`, below the report's name.

    Returns the number of files. The file appears when it is whole. Raises InputError
    for a directory that is no report, or that has links out of it or special files.
    """
    root = directory.resolve()
    if not (root / RESULTS).is_file():
        raise InputError(
            f"{directory} is no report: there is no {RESULTS} in it",
            hint="give the directory of one run, such as reports/latest",
        )
    if output.is_dir():
        raise InputError(f"--output {output} is a directory", hint="name a file")
    if not output.parent.is_dir():
        raise InputError(f"--output {output}: there is no {output.parent}")
    files = [file for file in _files(root) if file != output.resolve()]
    fresh = output.with_name(f".{output.name}.new")
    try:
        with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                name = f"{root.name}/{file.relative_to(root)}"
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = _MODE
                archive.writestr(entry, redact(file.read_bytes()))
        os.replace(fresh, output)  # noqa: PTH105 - it must replace an old one at once
    finally:
        fresh.unlink(missing_ok=True)
    return len(files)


def _files(root: Path) -> Iterator[Path]:
    """Yield all files in a stable order. Raises InputError for what cannot be packed.

    A link to another place of the report, such as `latest`, is left out: what it leads
    to is packed anyway.
    """
    mistakes = []
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_symlink():
            if not path.resolve().is_relative_to(root):
                mistakes.append(f"{name} is a link out of the report")
        elif path.is_file():
            found.append(path)
        elif not path.is_dir():
            mistakes.append(f"{name} is neither a file nor a directory")
    if mistakes:
        raise InputError(f"{root} cannot be packed: {'; '.join(mistakes)}")
    yield from found
