"""`harness report zip`: one file with everything, or one message."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING

import pytest

from harness import report
from harness.errors import InputError
from harness.report import archive
from tests.report import samples

if TYPE_CHECKING:
    from pathlib import Path

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Write a whole report."""
    directory = tmp_path / "reports" / "20260102T030405Z-abcd"
    samples.lay_out(directory)
    report.write(samples.results(), directory)
    return directory


def test_everything_is_in_it_below_one_name(written: Path, tmp_path: Path) -> None:
    """All files, in a stable order, readable, and nothing else."""
    output = tmp_path / "all.zip"
    count = archive.pack(written, output)
    with zipfile.ZipFile(output) as file:
        names = file.namelist()
        page = file.read(f"{written.name}/index.html")
    files = [p for p in written.rglob("*") if p.is_file()]
    assert count == len(names) == len(files)
    assert sorted(names) == sorted(
        f"{written.name}/{p.relative_to(written)}" for p in files
    )
    assert page == (written / "index.html").read_bytes()


def test_the_same_report_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    """Times and owners of files are not in it."""
    archive.pack(written, tmp_path / "one.zip")
    for path in written.rglob("*"):
        os.utime(path, (1, 1))
    archive.pack(written, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_an_earlier_zip_is_not_packed(written: Path) -> None:
    """Packing into the report itself twice gives the same file."""
    output = written / "all.zip"
    first = archive.pack(written, output)
    assert archive.pack(written, output) == first


def test_no_key_is_in_it(written: Path, tmp_path: Path) -> None:
    """A file that somebody added is redacted on the way."""
    (written / "evidence" / "added.txt").write_text(f"x\n{KEY}\n")
    archive.pack(written, tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as file:
        text = file.read(f"{written.name}/evidence/added.txt").decode()
    assert text == "x\n[redacted: private key]\n"


@pytest.mark.parametrize("kind", ["file", "directory", "dangling", "fifo"])
def test_what_leads_out_is_refused(written: Path, tmp_path: Path, kind: str) -> None:
    """No link out of the report is followed, and no output is left."""
    place = written / "evidence" / "odd"
    if kind == "fifo":
        os.mkfifo(place)
    else:
        target = {"file": "/etc/passwd", "directory": "/etc", "dangling": "../../../no"}
        place.symlink_to(target[kind])
    with pytest.raises(InputError, match="evidence/odd is"):
        archive.pack(written, tmp_path / "all.zip")
    assert not (tmp_path / "all.zip").exists()


def test_a_link_within_is_left_out(written: Path, tmp_path: Path) -> None:
    """`latest` of a controls' run leads to what is packed anyway."""
    (written / "latest").symlink_to("evidence")
    count = archive.pack(written, tmp_path / "all.zip")
    assert count == sum(p.is_file() and not p.is_symlink() for p in written.rglob("*"))


@pytest.mark.parametrize("bad", ["absent", "file", "empty"])
def test_what_is_no_report_is_refused(tmp_path: Path, bad: str) -> None:
    """A path that is missing, a file, or an empty directory."""
    place = tmp_path / bad
    if bad == "file":
        place.write_text("x")
    elif bad == "empty":
        place.mkdir()
    with pytest.raises(InputError, match="is no report"):
        archive.pack(place, tmp_path / "all.zip")
    assert not (tmp_path / "all.zip").exists()
