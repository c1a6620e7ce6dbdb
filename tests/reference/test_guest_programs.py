"""lab's protocol, and small decisions of a switch."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from nixguest import files, lab, switch

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("request_bytes", "parsed"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ("GET", "/", b"")),
        (b"GET /?a=b HTTP/1.0\r\n\r\n", ("GET", "/", b"")),
        (
            b"POST /sessions HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody",
            ("POST", "/sessions", b"body"),
        ),
    ],
)
def test_requests_are_read(
    request_bytes: bytes, parsed: tuple[str, str, bytes]
) -> None:
    """Method, path without query, and body by its length."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(request_bytes)
        assert lab.read_request(ours) == parsed


def test_page_names_every_session() -> None:
    """The page lists the sessions by name."""
    text = lab.page(3, ["alpha", "beta"])
    assert "alpha" in text
    assert "beta" in text
    assert "2 live sessions" in text


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"name": "a b"}', b'{"name": ""}']
)
def test_bad_session_requests_are_refused(body: bytes) -> None:
    """No session is started from a request that cannot be understood."""
    assert lab.start(body)[0] == 400


def test_unknown_path() -> None:
    """There is nothing else."""
    assert lab.answer("GET", "/nothing", b"", 1)[0] == 404


@pytest.mark.parametrize(
    ("mount_point", "unit"),
    [
        ("/", "-.mount"),
        ("/boot", "boot.mount"),
        ("/var/lib/x-y", "var-lib-x\\x2dy.mount"),
        ("/.hidden", "\\x2ehidden.mount"),
    ],
)
def test_mount_units(mount_point: str, unit: str) -> None:
    """Unit names as systemd-escape makes them."""
    assert switch._mount_unit(mount_point) == unit  # noqa: SLF001


def test_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is replaced as a whole, or not at all."""
    path = tmp_path / "menu"
    path.write_text("old")

    def broken(_old: str, _new: str) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(os, "rename", broken)
    with pytest.raises(OSError, match="power cut"):
        files.write_atomically(str(path), "new")
    assert path.read_text() == "old"
