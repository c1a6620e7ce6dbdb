"""The mirror is the one in this computer's apt configuration, or there is none."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import pytest

from harness.errors import HostError
from harness.process import run
from harness.reference import mirror as mirrors
from harness.reference.mirror import (
    OVERRIDE,
    find_mirror,
    parse_proxies,
    parse_targets,
    parse_update,
)
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

    from harness.deadline import Deadline

needs_apt = pytest.mark.skipif(
    shutil.which("apt-get") is None, reason="this computer has no apt-get"
)


@pytest.fixture(autouse=True)
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend that Debian's keys are installed."""
    keys = tmp_path / "keys.gpg"
    keys.touch()
    monkeypatch.setattr(mirrors, "KEYRING", keys)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return keys


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give apt a configuration of its own; returns its sources directory."""
    sources = tmp_path / "sources"
    lists = tmp_path / "lists"
    sources.mkdir()
    lists.mkdir()
    config = tmp_path / "apt.conf"
    config.write_text(
        f'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "{sources}";\n'
        f'Dir::State::lists "{lists}";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(config))
    return sources


def deadline() -> Deadline:
    """Bound one call of apt."""
    return patient(20, "apt")


def test_apts_index_names_the_debian_archive() -> None:
    """Security archives and strangers are passed over, repetitions dropped."""
    text = (
        "http://one.example/debian-security/|Debian|Debian-Security|main\n"
        "http://two.example/debian/|Debian|Debian|contrib\n"
        "http://two.example/debian/|Debian|Debian|main\n"
        "http://two.example/debian/|Debian|Debian|main\n"
        "http://three.example/x|Docker|Docker CE|stable\n"
    )
    assert parse_targets(text) == ["http://two.example/debian/"]


def test_a_planned_update_names_the_mirror_when_apt_has_no_index_yet() -> None:
    """Code names count, a mere `stable` only with a path that says debian."""
    text = (
        "'https://a.example/grafana/dists/stable/main/binary-amd64/Packages' a 0\n"
        "'https://b.example/mirror/dists/bookworm/main/binary-amd64/Packages' b 0\n"
        "'https://c.example/debian/dists/stable/main/binary-amd64/Packages' c 0\n"
        "'https://c.example/debian/dists/stable/contrib/binary-amd64/Packages' c 0\n"
        "'https://d.example/debian-security/dists/bookworm-security/main/x' d 0\n"
    )
    assert parse_update(text) == [
        "https://c.example/debian",
        "https://b.example/mirror",
    ]


@needs_apt
def test_both_source_formats_are_understood(apt: Path) -> None:
    """Real apt reads the sources, so every form that it supports is supported."""
    (apt / "one.sources").write_text(
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\n"
        "Components: main\n"
    )
    assert find_mirror({}, deadline()).uri == "http://mirror.example/debian"
    (apt / "one.sources").unlink()
    (apt / "two.list").write_text("deb http://other.example/debian/ sid main\n")
    assert find_mirror({}, deadline()).uri == "http://other.example/debian"


@needs_apt
@pytest.mark.usefixtures("apt")
def test_no_mirror_is_an_error_that_says_what_to_do() -> None:
    """No name is ever guessed."""
    with pytest.raises(HostError, match=OVERRIDE):
        find_mirror({}, deadline())


@needs_apt
def test_the_override_wins_and_apts_proxy_goes_along(apt: Path, tmp_path: Path) -> None:
    """A closed network often has both."""
    (apt / "one.list").write_text("deb http://mirror.example/debian sid main\n")
    config = tmp_path / "apt.conf"
    proxy = 'Acquire::http::Proxy "http://proxy.example:3128/";'
    config.write_text(f"{config.read_text()}{proxy}\n")
    found = find_mirror({OVERRIDE: "http://mine.example/debian/"}, deadline())
    assert found.uri == "http://mine.example/debian"
    assert proxy in found.apt_options


def test_only_proxies_are_taken_over() -> None:
    """Anything else in apt's configuration is about this computer."""
    text = 'Acquire::https::Proxy "x";\nDPkg::Options:: "--force-confold";\n'
    assert parse_proxies(text) == ['Acquire::https::Proxy "x";']


@needs_apt
@pytest.mark.usefixtures("apt")
def test_missing_keys_are_named(keyring: Path) -> None:
    """Without Debian's keys nothing could be trusted: a mirror's own never count."""
    keyring.unlink()
    with pytest.raises(HostError, match="debian-archive-keyring"):
        find_mirror({OVERRIDE: "http://mine.example/debian"}, deadline())


@needs_apt
def test_keys_come_from_their_package_where_apt_has_it(
    apt: Path, keyring: Path, tmp_path: Path
) -> None:
    """As on an Ubuntu: apt knows the package, and it is not installed."""
    keyring.unlink()
    tree, pool = tmp_path / "tree", tmp_path / "pool"
    ring = tree / "usr/share/keyrings/debian-archive-keyring.gpg"
    ring.parent.mkdir(parents=True)
    ring.write_text("keys")
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        "Package: debian-archive-keyring\nVersion: 9999.1\nArchitecture: all\n"
        "Maintainer: none\nDescription: keys\n"
    )
    pool.mkdir()
    deb = pool / "debian-archive-keyring_9999.1_all.deb"
    run(["dpkg-deb", "-b", str(tree), str(deb)], deadline=deadline()).check()
    facts = run(["dpkg-deb", "-f", str(deb)], deadline=deadline()).check().stdout
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    size = deb.stat().st_size
    (pool / "Packages").write_text(
        f"{facts}Filename: ./{deb.name}\nSize: {size}\nSHA256: {digest}\n"
    )
    (apt / "pool.list").write_text(f"deb [trusted=yes] file:{pool} ./\n")
    run(["apt-get", "update", "-o", "Debug::NoLocking=1"], deadline=deadline()).check()
    found = find_mirror({OVERRIDE: "http://mine.example/debian"}, deadline())
    assert found.keyring.read_text() == "keys"
    assert found.keyring.is_relative_to(tmp_path / "cache")
