"""`gc-no-estale`: each change of what was observed fails its own check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness import Budgets, Mount, Reading, Verification
from suites.store import checks
from tests.suites.observed import LAB, OLD, STATE, STEADY, VERIFIED, failed, session

READING = Reading(10, 200, 5000, 4000, {}, ())


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, None),
        ({"errors": {"ESTALE": 1}}, "every file of every live closure reads back"),
        ({"bytes": 3999}, "as many bytes are read as the live files have"),
    ],
)
def test_reading(change: dict[str, Any], name: str | None) -> None:
    """An error and a file that reads back short are two things."""
    reading = replace(READING, **change)
    assert failed(checks.reads_back(reading, "now")) == {name} - {None}


@pytest.mark.parametrize(
    ("verified", "deleted", "kernel", "name"),
    [
        (VERIFIED, (), (), None),
        (
            replace(VERIFIED, rc=1),
            (),
            (),
            "the store verifies against its database",
        ),
        (
            replace(VERIFIED, problems=("path '/nix/store/x' was modified",)),
            (),
            (),
            "the store verifies against its database",
        ),
        (
            VERIFIED,
            ((7, "/nix/store/x/bin/y"),),
            (),
            "no process runs or maps a deleted store file",
        ),
        (
            VERIFIED,
            (),
            ("EXT4-fs error (device vda1)",),
            "the kernel log has no stale handle or file system error",
        ),
    ],
)
def test_the_store(
    verified: Verification,
    deleted: tuple[tuple[int, str], ...],
    kernel: tuple[str, ...],
    name: str | None,
) -> None:
    """Database, processes and kernel log each have a check."""
    judged = checks.store_unharmed(verified, deleted, kernel, "now")
    assert failed(judged) == {name} - {None}


@pytest.mark.parametrize(
    ("mounts", "argv", "name"),
    [
        ((), ("qemu", "-device", "virtio-blk"), None),
        (
            (Mount("/nix/store", "9p", "store", "/", "ro"),),
            ("qemu",),
            "the Nix store is on the guest's own file system",
        ),
        (
            (),
            ("qemu", "-virtfs", "local,path=/x"),
            "QEMU shares no host directory with the guest",
        ),
    ],
)
def test_whose_store_it_is(
    mounts: tuple[Mount, ...], argv: tuple[str, ...], name: str | None
) -> None:
    """A share is seen from inside and from outside."""
    assert failed(checks.owns_its_store(mounts, argv)) == {name} - {None}


def test_sessions_live_on() -> None:
    """A session that is new or silent during the collections fails too."""
    budgets = Budgets()
    hearts = {"alpha": STEADY}
    assert failed(checks.sessions_live_on(LAB, LAB, hearts, budgets)) == set()
    more = replace(LAB, sessions={**LAB.sessions, "new": session("new", 30)})
    silent = {"alpha": replace(STEADY, now=120.0)}
    assert failed(checks.sessions_live_on(LAB, more, silent, budgets)) == {
        "session processes and terminals are unchanged",
        "session heartbeats are uninterrupted",
    }


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, None),
        ({"booted": None}, "the booted, current and profile generations are kept"),
        ({"current": OLD}, "the booted, current and profile generations are kept"),
        (
            {"booted": replace(OLD, kernel=None)},
            "kernel, initrd and modules of the generations in use are kept",
        ),
    ],
)
def test_generations(change: dict[str, Any], name: str | None) -> None:
    """What is in use stays, with all of its parts."""
    names = failed(checks.keeps_generations(STATE, replace(STATE, **change)))
    assert (name in names) if name else (names == set())


def test_an_open_file() -> None:
    """It is there or not."""
    assert checks.spares_open_file("/nix/store/x", "/nix/store/x").held
    assert not checks.spares_open_file("/nix/store/x", None).held
