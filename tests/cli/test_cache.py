"""`harness images` and `harness clean` on a cache of small, real entries."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from harness import reference
from harness.cli import app
from harness.errors import InputError
from harness.image import Image, Shelf
from harness.process import PIPE, spawn
from harness.stage import places
from tests.stage.stored import put_image, put_stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Store the image of this version's recipe, and two stages on it."""
    home = tmp_path / "cache"
    monkeypatch.setenv("HARNESS_CACHE", str(home))
    image = image_of(home)
    below = put_stage(home / "stages", "cloud", None, image)
    put_stage(home / "stages", "nixos", below, image)
    return home


def image_of(home: Path, content: str = "a") -> Image:
    """Store an image that the recipe leads to."""
    recipe = reference.recipe_digest()
    image = put_image(Shelf(home), content, recipe=recipe)
    Shelf(home).pin(recipe, image)
    return image


@dataclass(frozen=True)
class Answered:
    """What a command printed, and its exit status."""

    rc: int
    stdout: str
    stderr: str


def harness(*words: str) -> Answered:
    """Run the command line in this process; an error gives the status that it has."""
    done = CliRunner().invoke(app, list(words))
    error = done.exception
    if isinstance(error, InputError):
        return Answered(2, done.stdout, str(error))
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return Answered(done.exit_code, done.stdout, done.stderr)


def flip(path: Path) -> None:
    """Change the last byte of a file."""
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))


def stages(cache: Path) -> list[str]:
    """List the stages that are there, without machine and digest."""
    return [p.name.split("-")[0] for p in places() if p.is_relative_to(cache)]


# images -----------------------------------------------------------------------------


def test_a_whole_cache_is_verified(cache: Path) -> None:
    """Everything is read, and nothing is changed."""
    assert cache
    done = harness("images", "--verify")
    assert (done.rc, done.stdout) == (0, "All 3 entries are as they were stored.\n")


@pytest.mark.parametrize("name", ["ram", "disk.qcow2"])
def test_verify_names_what_is_damaged(cache: Path, name: str) -> None:
    """Status 1: asked whether the cache is whole, the answer is no."""
    bad = next(cache.glob("stages/cloud-*")) / name
    flip(bad)
    done = harness("images", "--verify")
    assert done.rc == 1
    assert f"stage cloud of dev d is damaged: {bad}: expected sha256" in done.stdout
    assert "1 of 3 entries cannot be used" in done.stdout
    assert "harness clean --damaged" in done.stdout


def test_verify_counts_what_has_no_whole_manifest(cache: Path) -> None:
    """As it does an entry whose files are damaged."""
    (next(cache.glob("stages/nixos-*")) / "stage.json").write_text("{")
    done = harness("images", "--verify")
    assert done.rc == 1
    assert "1 of 2 entries cannot be used" in done.stdout


def test_the_key_is_stable_and_names_no_place(cache: Path, tmp_path: Path) -> None:
    """Equal inputs give an equal key, wherever and however full the cache is."""
    first = harness("images", "--key")
    assert first.rc == 0
    assert first.stdout.startswith("vm-acceptance-")
    assert len(first.stdout.strip()) < 40
    cache.rename(tmp_path / "elsewhere")
    assert harness("images", "--key").stdout == first.stdout


def test_the_path_is_where_the_cache_is(cache: Path) -> None:
    """As `$HARNESS_CACHE` says."""
    assert harness("images", "--path").stdout == f"{cache}\n"


@pytest.mark.parametrize(
    "words",
    [
        ("images", "--verify", "--key"),
        ("images", "--refresh", "--import", "x"),
        ("images", "--path", "--export", "x"),
        ("clean", "--stages", "--old"),
        ("clean", "--damaged", "--old"),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    cache: Path, words: tuple[str, ...]
) -> None:
    """One message, and nothing is done."""
    done = harness(*words)
    assert done.rc == 2
    assert "not together with" in done.stderr
    assert stages(cache) == ["cloud", "nixos"]


def test_a_refresh_says_that_nothing_changed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same packages: image and stages stay."""
    same = image_of(cache)
    monkeypatch.setattr(reference, "refresh", lambda _: same)
    done = harness("images", "--refresh")
    assert "has all packages of today; it stays" in done.stdout
    assert stages(cache) == ["cloud", "nixos"]


def test_a_refresh_removes_what_it_replaces(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old image, and the stages on it."""
    monkeypatch.setattr(reference, "refresh", lambda _: image_of(cache, "b"))
    done = harness("images", "--refresh")
    assert "is used from now on" in done.stdout
    assert "Removed 3 cached states" in done.stdout
    assert stages(cache) == []
    assert len(list(cache.glob("images/[0-9a-f]*"))) == 1


def test_a_refresh_removes_nothing_under_another_run(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one may need its image for its next machine."""
    monkeypatch.setattr(reference, "refresh", lambda _: image_of(cache, "b"))
    disk = next(cache.glob("stages/cloud-*")) / "disk.qcow2"
    argv = [sys.executable, "-c", HOLD, str(cache), str(disk)]
    with spawn(argv, stdin=PIPE, stdout=PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        done = harness("images", "--refresh")
    assert f"PID {other.pid} (python" in done.stdout
    assert "harness clean --old" in done.stdout
    assert stages(cache) == ["cloud", "nixos"]


# Export and import ------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz"])
def test_an_exported_image_is_taken_in_elsewhere(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """The recipe leads to it there, without a mirror."""
    file = tmp_path / f"image{suffix}"
    assert harness("images", "--export", str(file)).rc == 0
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "other"))
    done = harness("images", "--import", str(file))
    assert done.rc == 0, done.stderr
    found = Shelf(tmp_path / "other").find(reference.recipe_digest())
    assert found is not None
    assert found.damage() == []
    assert found.digest == next(cache.glob("images/[0-9a-f]*")).name
    assert harness("images", "--import", str(file)).rc == 0
    assert [p.name for p in tmp_path.glob(".*.partial")] == []


def tar_of(file: Path, *members: tuple[str, bytes | str]) -> Path:
    """Write a tar; text is the target of a symbolic link."""
    with tarfile.open(file, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return file


def cut(file: Path) -> Path:
    """Leave out the second half of a file."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return file


def flipped(file: Path) -> Path:
    """Change a byte of the disk inside."""
    content = file.read_bytes()
    at = content.index(b"QFI\xfb") + 0x100
    file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    return file


FOREIGN: dict[str, Callable[[Path], Path]] = {
    "nothing": lambda file: file.with_name("missing"),
    "a directory": lambda file: file.parent,
    "empty": lambda file: (file.write_bytes(b""), file)[1],
    "text": lambda file: (file.write_bytes(b"hello\n"), file)[1],
    "cut off": cut,
    "damaged": flipped,
    "above": lambda file: tar_of(file, ("../../evil", b"x")),
    "absolute": lambda file: tar_of(file, ("/evil", b"x")),
    "a link": lambda file: tar_of(file, ("manifest.json", "/etc/passwd")),
    "a part": lambda file: tar_of(file, ("vmlinuz", b"x")),
    "twice": lambda file: tar_of(file, ("vmlinuz", b"x"), ("vmlinuz", b"y")),
    "no manifest": lambda file: tar_of(
        file, ("manifest.json", b"[]"), ("vmlinuz", b"x"), ("image.qcow2", b"y")
    ),
}


@pytest.mark.parametrize("how", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_file_is_refused_in_one_message(
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: Callable[[Path], Path],
) -> None:
    """Nothing of it stays, inside the cache or outside."""
    assert cache
    file = tmp_path / "image.tar"
    assert harness("images", "--export", str(file)).rc == 0
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "other"))
    given = how(file)
    before = {path for path in tmp_path.rglob("*") if "other" not in path.parts}
    done = harness("images", "--import", str(given))
    assert done.rc == 2
    assert "Traceback" not in done.stderr
    assert str(given) in done.stderr
    assert list((tmp_path / "other/images").glob("[!.]*")) == []
    assert list((tmp_path / "other/images").glob(".new-*")) == []
    after = {path for path in tmp_path.rglob("*") if "other" not in path.parts}
    assert after == before


def test_an_image_of_another_recipe_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This version would never use it."""
    shutil.rmtree(cache)
    shelf = Shelf(cache)
    image = put_image(shelf)
    shelf.pin(reference.recipe_digest(), image)
    file = tmp_path / "image.tar"
    assert harness("images", "--export", str(file)).rc == 0
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "other"))
    done = harness("images", "--import", str(file))
    assert done.rc == 2
    assert "it was made by recipe 1111111111111111" in done.stderr


# clean ------------------------------------------------------------------------------


def test_clean_says_what_goes(cache: Path) -> None:
    """Everything, each with its size."""
    done = harness("clean")
    assert done.rc == 0
    assert done.stdout.count("removed  ") == 3
    assert "Removed 3 cached states" in done.stdout
    assert stages(cache) == []
    assert list(cache.glob("images/[0-9a-f]*")) == []


def test_clean_says_what_it_keeps_and_why(cache: Path) -> None:
    """`--stages` keeps images; downloads are never removed."""
    (cache / "debs").mkdir()
    done = harness("clean", "--stages")
    assert "kept     image" in done.stdout
    assert "--stages removes only stages" in done.stdout
    assert "kept     downloaded packages" in done.stdout
    assert stages(cache) == []
    assert len(list(cache.glob("images/[0-9a-f]*"))) == 1


def test_clean_damaged_removes_what_is_based_on_damage_too(cache: Path) -> None:
    """A stage above it would be based on another disk after a rebuild."""
    assert "Removed 0" in harness("clean", "--damaged").stdout
    flip(next(cache.glob("stages/nixos-*")) / "ram")
    done = harness("clean", "--damaged")
    assert "Removed 1" in done.stdout
    assert "undamaged" in done.stdout
    assert stages(cache) == ["cloud"]
    image = next(cache.glob("images/[0-9a-f]*"))
    flip(image / "vmlinuz")
    assert "Removed 2" in harness("clean", "--damaged").stdout
    assert stages(cache) == []


def test_clean_old_keeps_what_this_version_uses(cache: Path) -> None:
    """An image that was replaced goes, with the stages on it."""
    image_of(cache, "b")
    done = harness("clean", "--old")
    assert "kept     image" in done.stdout
    assert "this version uses it" in done.stdout
    assert "Removed 3 cached states" in done.stdout


HOLD = """
import sys
from pathlib import Path
from harness.image.users import in_use
with in_use(Path(sys.argv[1])), open(sys.argv[2], "rb"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_clean_refuses_while_another_process_uses_the_cache(cache: Path) -> None:
    """It names the process; by force it goes on, but keeps what that one has open."""
    disk = next(cache.glob("stages/cloud-*")) / "disk.qcow2"
    argv = [sys.executable, "-c", HOLD, str(cache), str(disk)]
    with spawn(argv, stdin=PIPE, stdout=PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        refused = harness("clean")
        assert refused.rc == 2
        assert f"PID {other.pid} (python" in refused.stderr
        assert "nothing was removed" in refused.stderr
        assert stages(cache) == ["cloud", "nixos"]
        forced = harness("clean", "--force")
        assert forced.rc == 0
        assert f"PID {other.pid} (python" in forced.stdout
        assert stages(cache) == ["cloud"]
        assert disk.exists()
    assert harness("clean").rc == 0
    assert stages(cache) == []


@pytest.mark.parametrize("text", ["", "[]", "{", "\0"])
def test_damaged_manifests_do_not_stop_any_command(cache: Path, text: str) -> None:
    """They are listed, and cleaned with the rest."""
    for manifest in (*cache.glob("*/*/stage.json"), *cache.glob("*/*/manifest.json")):
        manifest.write_text(text)
    listed = harness("images")
    assert listed.rc == 0
    assert listed.stdout.count("not used, `harness clean` removes it") == 3
    assert harness("clean").rc == 0
    assert stages(cache) == []


@pytest.mark.parametrize("name", ["missing/figures.json", "cache"])
def test_bench_refuses_before_it_measures(
    cache: Path, tmp_path: Path, name: str
) -> None:
    """A file that cannot be written would lose minutes of work."""
    assert cache
    done = harness("bench", "--json", str(tmp_path / name))
    assert done.rc == 2
    assert "--json" in done.stderr
