"""Traces of a machine: who runs, who holds, what is left; by real processes."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from harness.process import PIPE, spawn
from harness.site.trace import Trace, trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = "import mmap, sys; f = open(sys.argv[1], 'rb'); print(flush=True); input()"
MAP = (
    "import mmap, sys; f = open(sys.argv[1], 'rb');"
    " m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ); f.close();"
    " print(flush=True); input()"
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Make a machine's directory with an image in it."""
    home = tmp_path / "old"
    home.mkdir()
    (home / "disk.qcow2").write_bytes(bytes(8192))
    return home


@contextmanager
def running(*words: str) -> Iterator[None]:
    """Keep a program running that has said its first line."""
    argv = [sys.executable, "-I", "-S", "-c", *words]
    with spawn(argv, stdin=PIPE, stdout=PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield


def test_a_machine_without_traces(home: Path) -> None:
    """Removed, unheld and unmentioned."""
    with trace(home) as left:
        (home / "disk.qcow2").unlink()
        home.rmdir()
        assert (left.names_left(), left.processes(), left.holders()) == ([], [], [])


def test_a_removed_image_is_known_by_any_name(home: Path, tmp_path: Path) -> None:
    """A hard link elsewhere keeps it; so does moving it."""
    image = home / "disk.qcow2"
    (tmp_path / "backup").hardlink_to(image)
    with trace(home) as left:
        image.unlink()
        home.rmdir()
        assert left.names_left() == [f"{image} (by some name)"]
        (tmp_path / "backup").unlink()
        assert left.names_left() == []


def test_the_directory_itself_and_new_files_count(home: Path) -> None:
    """A directory that was made again is left over, too."""
    with trace(home) as left:
        (home / "disk.qcow2").unlink()
        (home / "lock").touch()
        assert left.names_left() == [str(home), str(home / "lock")]


@pytest.mark.parametrize("program", [HOLD, MAP])
def test_who_holds_a_deleted_image(home: Path, program: str) -> None:
    """Open or only mapped: its blocks are not given back."""
    image = home / "disk.qcow2"
    with trace(home) as left:
        assert left.holders() == []
        with running(program, str(image)):
            image.unlink()
            assert len(left.holders()) == 1
        assert left.holders() == []


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("{home}", True),
        ("file={home}/disk.qcow2,if=virtio", True),
        ("{home}er", False),
    ],
)
def test_who_mentions_it(home: Path, word: str, named: bool) -> None:  # noqa: FBT001
    """On a command line, in QEMU's way of joining options too."""
    with (
        trace(home) as left,
        running("print(flush=True); input()", word.format(home=home)),
    ):
        assert bool(left.processes()) == named


def test_knowing_a_file_is_not_holding_it(home: Path) -> None:
    """The descriptors of a trace are its own affair."""
    with trace(home) as left:
        assert isinstance(left, Trace)
        assert left.holders() == []
