"""Files that users name: what is no text of a modest size is named, and never read."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.files import read_input, read_text, write_whole


def fifo(path: Path) -> None:
    """Make a pipe that nothing writes into."""
    os.mkfifo(path)


def listening(path: Path) -> None:
    """Make a socket."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def huge(path: Path) -> None:
    """Make a sparse file of a tebibyte."""
    with path.open("wb") as file:
        file.truncate(1 << 40)


def circle(path: Path) -> None:
    """Make a link to itself."""
    path.symlink_to(path)


def nothing(path: Path) -> None:
    """Leave the path free."""


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (fifo, "it is a pipe"),
        (listening, "it is a socket"),
        (Path.mkdir, "it is a directory"),
        (huge, "at most 4194304 bytes"),
        (circle, "too many levels of symbolic links"),
        (lambda path: path.symlink_to("gone"), "no such file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device"),
        (nothing, "no such file"),
    ],
)
def test_what_is_no_readable_file_is_named(
    tmp_path: Path, make: object, words: str
) -> None:
    """Neither does it block, nor does it fill the memory."""
    path = tmp_path / "spec"
    assert callable(make)
    make(path)
    with pytest.raises(InputError, match=words) as refused:
        read_input(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_what_is_no_name_of_a_file_is_named(tmp_path: Path, name: str) -> None:
    """The message is one line and can be printed."""
    with pytest.raises(InputError) as refused:
        read_input(tmp_path / name)
    assert "\0" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("é".encode("utf-16"), "it is UTF-16"),
        ("[vms.dev]".encode("utf-16-le"), "it is UTF-16"),
        ("[vms.dev]".encode("utf-16-be"), "it is UTF-16"),
        ("x".encode("utf-8-sig"), "byte-order mark"),
        (b"\xc3\x28", "byte 0 is not"),
        (b"a\nb\0c", "line 2 holds a NUL byte"),
        (bytes(100), "line 1 holds a NUL byte"),
    ],
)
def test_an_encoding_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    """A user sees what to do, not the number of a byte, where it can be said."""
    path = tmp_path / "spec"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_text(path)


@pytest.mark.parametrize("content", ["", "a", "ab", "é\r\n", "日本語"])
def test_text_is_read_as_it_is(tmp_path: Path, content: str) -> None:
    """Short and empty texts are not taken for another encoding."""
    path = tmp_path / "spec"
    path.write_bytes(content.encode())
    assert read_text(path) == content


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """What could not be written leaves the old one, and no draft."""
    path = tmp_path / "file"
    write_whole(path, "old")
    path.chmod(0o640)
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\udcff")
    assert path.read_text() == "old"
    write_whole(path, "new")
    assert path.read_text() == "new"
    (tmp_path / "directory/inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "directory", "x")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["directory", "file"]
