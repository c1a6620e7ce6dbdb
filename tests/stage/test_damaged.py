"""Stages whose manifest is not whole: listed, removed, built again, never used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from harness import stage
from harness.stage import Cached
from harness.stage.cache import stages_home

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = {
    "stage": "cloud",
    "vm": "dev",
    "digest": "d",
    "built": 1.0,
    "build_s": 2.0,
    "retries": 0,
    "format": 2,
    "base": {"name": "", "seal": ""},
    "image": "i",
    "code": "c",
    "qemu": "7.2",
    "files": {},
}
FOREIGN = {
    "empty": "",
    "cut off": json.dumps(MANIFEST)[:40],
    "null": "null",
    "a list": "[1]",
    "a number": "7",
    "without a key": json.dumps({**MANIFEST, "retries": None}),
    "wrongly typed": json.dumps({**MANIFEST, "built": "yesterday"}),
    "of the format before": json.dumps({**MANIFEST, "format": 1}),
    "without checksums": json.dumps(
        {k: v for k, v in MANIFEST.items() if k != "files"}
    ),
    "with odd checksums": json.dumps({**MANIFEST, "files": {"ram": 1}}),
    "deep": "[" * 100_000,
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty cache of its own."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return stages_home()


def saved(home: Path, name: str, text: str) -> Path:
    """Put a stage into the cache that is nothing but a manifest."""
    place = home / name
    place.mkdir()
    (place / "stage.json").write_text(text)
    return place


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_damaged_stage_is_not_taken_for_a_built_one(home: Path, text: str) -> None:
    """The whole ones are listed in spite of it, and it is cleaned with them."""
    whole = saved(home, "cloud-dev-1", json.dumps(MANIFEST))
    bad = saved(home, "cloud-dev-2", text)
    assert [each.path for each in stage.cached()] == [whole]
    assert stage.damaged() == [bad]
    assert Cached.read(bad) is None
    assert stage.places() == [whole, bad]
    stage.remove(bad)
    assert stage.damaged() == []


def test_more_keys_do_no_harm(home: Path) -> None:
    """A later version of the harness may write more into a manifest."""
    saved(home, "cloud-dev-1", json.dumps({**MANIFEST, "more": {}}))
    assert [each.vm for each in stage.cached()] == ["dev"]


def test_what_is_no_file_is_damaged(home: Path) -> None:
    """A directory in place of the manifest."""
    (home / "cloud-dev-1" / "stage.json").mkdir(parents=True)
    assert stage.damaged() == [home / "cloud-dev-1"]
