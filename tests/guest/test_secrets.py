"""The secrets view: what it reads of `secrets.sh`, and that it seals all or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import MachineError
from harness.guest import script
from harness.guest.secrets import Secrets, parse

if TYPE_CHECKING:
    from tests.guest.conftest import LocalGuest

_PRINTED = (
    "\x1eplace\nlink=/run/secrets.d/3\nfstype=ramfs\n\x1ekept\n3\n"
    "\x1efiles\nlab lab 400 {digest} lab-master-key\n\x1eend\n"
)


def test_what_the_script_prints_is_read() -> None:
    """A link, the file system below it, and each secret with its digest."""
    digest = Secrets.digest("value")
    state = parse(script.parse("secrets.sh", _PRINTED.format(digest=digest)))
    assert (state.link, state.fstype, state.kept) == (
        "/run/secrets.d/3",
        "ramfs",
        ("3",),
    )
    found = state.files["lab-master-key"]
    assert (found.owner, found.group, found.mode) == ("lab", "lab", "400")
    assert found.digest == digest


def test_an_odd_line_is_not_guessed_at() -> None:
    """It is the instrument's failure."""
    text = "\x1eplace\n\x1ekept\n\x1efiles\nlab lab\n\x1eend\n"
    with pytest.raises(MachineError, match="odd line"):
        parse(script.parse("secrets.sh", text))


def test_the_script_runs(guest: LocalGuest) -> None:
    """On a computer without secrets the state is empty."""
    state = Secrets(guest).state()
    assert not state.files


def test_a_secret_that_cannot_be_sealed_is_not_left_out(guest: LocalGuest) -> None:
    """A file without recipients is refused, as age does."""
    with pytest.raises(MachineError, match="not sealed"):
        Secrets(guest).seal({"a": "value"}, "age1nobody")
