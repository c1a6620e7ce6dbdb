"""What activation does to /etc, users and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from nixguest import activate, users

if TYPE_CHECKING:
    from pathlib import Path

Tree = dict[str, str]


def generation(directory: Path, files: Tree) -> str:
    """Write a generation's etc."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(directory)


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """Return an /etc with a file of the base in it."""
    directory = tmp_path / "etc"
    directory.mkdir()
    (directory / "base.conf").write_text("base")
    return directory


def test_files_come_and_go_with_the_generation(tmp_path: Path, etc: Path) -> None:
    """Names of the new generation appear, names of the old one go, others stay."""
    old = generation(tmp_path / "old", {"a": "1", "deep/b": "1", "c": "1"})
    new = generation(tmp_path / "new", {"a": "2", "deep/d": "2"})
    activate.setup_etc(old, str(etc))
    activate.setup_etc(new, str(etc))
    assert (etc / "a").read_text() == "2"
    assert (etc / "deep/d").read_text() == "2"
    assert not (etc / "c").is_symlink()
    assert not (etc / "deep/b").is_symlink()
    assert (etc / "base.conf").read_text() == "base"
    assert (etc / "static").readlink() == tmp_path / "new"


def test_all_names_go_by_way_of_static(tmp_path: Path, etc: Path) -> None:
    """One link, /etc/static, decides for all files at once."""
    activate.setup_etc(generation(tmp_path / "g", {"a": "1"}), str(etc))
    assert (etc / "a").readlink() == etc / "static/a"


def test_base_directory_gives_way(tmp_path: Path, etc: Path) -> None:
    """Where the generation has a link and the base a directory, the link wins."""
    (etc / "units").mkdir()
    (etc / "units/old.service").write_text("x")
    source = generation(tmp_path / "g", {"a": "1"})
    (tmp_path / "g/units").symlink_to(tmp_path)
    activate.setup_etc(source, str(etc))
    assert (etc / "units").is_symlink()


def test_copies_have_their_mode_and_are_removed(tmp_path: Path, etc: Path) -> None:
    """NAME.mode asks for a copy; it goes when no generation asks any more."""
    source = generation(tmp_path / "g", {"key": "s", "key.mode": "0600"})
    activate.setup_etc(source, str(etc))
    assert not (etc / "key").is_symlink()
    assert (etc / "key").stat().st_mode & 0o777 == 0o600
    assert not (etc / "key.mode").exists()
    activate.setup_etc(generation(tmp_path / "h", {"a": "1"}), str(etc))
    assert not (etc / "key").exists()


def user(name: str, **wanted: object) -> dict[str, Any]:
    """Return a user as the configuration describes one."""
    return {
        "name": name, "description": "", "isNormalUser": True, "uid": None,
        "group": "users", "extraGroups": [], "home": "/nowhere", "createHome": False,
        "shell": "/bin/sh", "linger": False, "hashedPassword": None, **wanted,
    }  # fmt: skip


GROUPS = {"users": {"gid": 100, "members": []}}


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Return the base's user tables."""
    (tmp_path / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (tmp_path / "group").write_text("root:x:0:\nsudo:x:27:\n")
    (tmp_path / "shadow").write_text("root:*:1::::::\n")
    return tmp_path


def apply(
    tables: Path, wanted: dict[str, Any], groups: dict[str, Any] = GROUPS
) -> None:
    """Bring the tables in line."""
    spec = {"users": wanted, "groups": groups}
    users.apply(spec, str(tables), str(tables / "state"))


def test_user_is_made_and_removed(tables: Path) -> None:
    """A declared user exists while it is declared; the base's stay."""
    apply(tables, {"lab": user("lab", uid=1000)})
    assert "lab:x:1000:100::/nowhere:/bin/sh" in (tables / "passwd").read_text()
    assert "lab:!:" in (tables / "shadow").read_text()
    apply(tables, {})
    assert "lab" not in (tables / "passwd").read_text()
    assert "lab" not in (tables / "shadow").read_text()
    assert "root:x:0:0" in (tables / "passwd").read_text()


def test_ids_are_free_and_kept(tables: Path) -> None:
    """A user without a declared id gets a free one and keeps it."""
    apply(tables, {"a": user("a", uid=1000), "b": user("b")})
    first = (tables / "passwd").read_text()
    assert "b:x:1001:" in first
    apply(tables, {"b": user("b", description="changed")})
    assert "b:x:1001:100:changed" in (tables / "passwd").read_text()


def test_group_of_the_base_gets_members(tables: Path) -> None:
    """An extra group gets its member; its id stays the base's."""
    groups = GROUPS | {"sudo": {"gid": None, "members": []}}
    apply(tables, {"dev": user("dev", extraGroups=["sudo"])}, groups)
    assert "sudo:x:27:dev" in (tables / "group").read_text()


def test_unchanged_tables_are_not_written(tables: Path) -> None:
    """A second activation leaves the files alone."""
    apply(tables, {"lab": user("lab")})
    inode = (tables / "passwd").stat().st_ino
    apply(tables, {"lab": user("lab")})
    assert (tables / "passwd").stat().st_ino == inode
