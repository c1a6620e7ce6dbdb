"""The recipe: what changes its digest, its mmdebstrap command line."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from harness.image.disk import PartitionTable
from harness.reference.mirror import Mirror
from harness.reference.recipe import (
    REFERENCE,
    ImageRecipe,
    Workshop,
    hook_environment,
    mmdebstrap,
    parse_list,
)

MIRROR = Mirror(
    "http://mirror.example/debian", apt_options=('Acquire::http::Proxy "x";',)
)
WORKSHOP = Workshop(Path("/w"), Path("/cache of mine/debs"), 9)
KEYS = Path("/keys.gpg")


@pytest.fixture
def recipe(tmp_path: Path) -> ImageRecipe:
    """Make a small recipe that may be changed."""
    hooks = tmp_path / "cloud/hooks"
    hooks.mkdir(parents=True)
    (hooks / "customize").write_text("#!/bin/sh\n")
    (tmp_path / "cloud/packages.list").write_text("one # a comment\n\n# two\nthree\n")
    return ImageRecipe(tmp_path)


def test_lists_have_comments_and_blank_lines() -> None:
    """Every line may say why it is there."""
    assert parse_list("# all\none\n two  # why\n\n") == ["one", "two"]


def test_the_digest_follows_content_name_mode_and_layout(recipe: ImageRecipe) -> None:
    """Every change of the image changes the digest."""
    hook = recipe.root / "cloud/hooks/customize"
    seen = {recipe.digest}
    hook.write_text("#!/bin/sh\ntrue\n")
    seen.add(recipe.digest)
    hook.chmod(0o755)
    seen.add(recipe.digest)
    hook.rename(hook.with_name("other"))
    seen.add(recipe.digest)
    seen.add(ImageRecipe(recipe.root, PartitionTable(root_mib=4096)).digest)
    assert len(seen) == 5


@pytest.mark.parametrize("cache", ["__pycache__", ".ruff_cache/0.17", ".mypy_cache"])
def test_the_digest_ignores_what_tools_leave_behind(
    recipe: ImageRecipe, cache: str
) -> None:
    """Running or checking a script of the recipe must not mean another image."""
    before = recipe.digest
    left = recipe.root / "cloud" / cache
    left.mkdir(parents=True)
    (left / "x").write_bytes(b"x")
    os.utime(recipe.root / "cloud/packages.list", (0, 0))
    assert recipe.digest == before


def test_packages_of_both_halves_are_installed(recipe: ImageRecipe) -> None:
    """The NixOS half asks for its own."""
    assert recipe.packages == ["one", "three"]
    (recipe.root / "nixos").mkdir()
    (recipe.root / "nixos/packages.list").write_text("four\n")
    assert recipe.packages == ["one", "three", "four"]
    assert "--include=one,three,four" in mmdebstrap(recipe, WORKSHOP, MIRROR, KEYS)


def test_downloads_are_saved_before_anything_is_built_of_them(
    recipe: ImageRecipe,
) -> None:
    """A build that fails late must not download everything again."""
    (recipe.root / "nixos").mkdir()
    (recipe.root / "nixos/build-cache").write_text("#!/bin/sh\n")
    argv = mmdebstrap(recipe, WORKSHOP, MIRROR, KEYS)
    hooks = [word.partition("=")[2] for word in argv if "customize-hook" in word]
    verbs = [Path(hook.split()[0]).name for hook in hooks]
    assert verbs[:4] == ["customize", "fetch-pool", "sync-out", "build-cache"]
    assert verbs[-2:] == ["strip", "disk"]


def test_the_nixos_half_is_left_out_where_it_is_missing(recipe: ImageRecipe) -> None:
    """The cloud image does not need the NixOS half."""
    argv = " ".join(mmdebstrap(recipe, WORKSHOP, MIRROR, KEYS))
    assert "fetch-pool" not in argv
    assert "build-cache" not in argv


def test_paths_with_blanks_survive_in_hooks(recipe: ImageRecipe) -> None:
    """The words of special hooks are split as a shell does."""
    argv = mmdebstrap(recipe, WORKSHOP, MIRROR, KEYS)
    assert "--setup-hook=sync-in '/cache of mine/debs' /var/cache/apt/archives" in argv


def test_mirror_keys_and_proxy_reach_mmdebstrap(recipe: ImageRecipe) -> None:
    """The detected mirror and its apt settings are used."""
    argv = mmdebstrap(recipe, WORKSHOP, MIRROR, KEYS)
    assert argv[-1] == (
        "deb [signed-by=/keys.gpg] http://mirror.example/debian trixie main"
    )
    assert '--aptopt=Acquire::http::Proxy "x";' in argv


def test_the_environment_has_all_that_hooks_use() -> None:
    """Every variable that a hook says it needs is set."""
    environment = hook_environment(ImageRecipe(), WORKSHOP, MIRROR)
    for hook in (REFERENCE / "cloud/hooks").iterdir():
        text = hook.read_text()
        used = set(re.findall(r"\$\{?([A-Z][A-Z_]+)\b", text))
        assert used <= {*environment, "MKE2FS_CONFIG"}, hook.name


def test_every_hook_can_be_executed() -> None:
    """They are run directly, without a shell before them."""
    hooks = list((REFERENCE / "cloud/hooks").iterdir())
    assert hooks
    assert [hook.name for hook in hooks if not os.access(hook, os.X_OK)] == []


def test_no_mirror_is_named_in_the_recipe() -> None:
    """Packages come from where this computer gets its own."""
    for path in (REFERENCE / "cloud").rglob("*"):
        if path.is_file():
            assert not re.search(r"https?://", path.read_text()), path
