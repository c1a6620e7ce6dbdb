"""What activation makes of secrets: whole or not at all, for their owners, in order."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from nixguest import files, lab, secrets

if TYPE_CHECKING:
    from pathlib import Path

# Opens "KEY TEXT" for the owner of KEY: how age is called is what is tested here.
AGE = """#!/bin/sh
[ "$1 $2" = "--decrypt --identity" ] || exit 9
read -r key text
[ "$key" = "$(cat "$3")" ] || { echo "no identity matched" >&2; exit 1; }
printf %s "$text"
"""


@dataclass
class SecretsHost:
    """A run directory, a key, and secrets that can be sealed for one key or another."""

    root: Path
    sealed: dict[str, str] = field(default_factory=dict)
    mode: str = "0440"

    def install(self) -> bool:
        """Activate what is sealed."""
        file = self.root / "secrets.json"
        text = ", ".join(f'"{k}": "{v}"' for k, v in self.sealed.items())
        file.write_text(f"{{{text}}}")
        spec: dict[str, Any] = {
            "age": str(self.root / "age"),
            "identities": [str(self.root / "key"), "/nowhere"],
            "keepGenerations": 1,
            "secrets": [self._secret(name, str(file)) for name in self.sealed],
        }
        return secrets.install(spec, str(self.root / "run"))

    def _secret(self, name: str, file: str) -> dict[str, Any]:
        return {
            "name": name,
            "key": name,
            "file": file,
            "path": f"/run/secrets/{name}",
            "owner": pwd.getpwuid(os.getuid()).pw_name,
            "group": grp.getgrgid(os.getgid()).gr_name,
            "mode": self.mode,
            "restartUnits": [f"{name}.service"],
            "reloadUnits": [],
        }

    def path(self, name: str) -> Path:
        """Return where a secret is found."""
        return self.root / "run/secrets" / name

    @property
    def restarts(self) -> str:
        """What the switch is asked to restart."""
        return files.read(str(self.root / "run/nixos/activation-restart-list"), "")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SecretsHost:
    """Return a host whose key is "ours"."""
    monkeypatch.delenv("NIXOS_ACTION", raising=False)
    (tmp_path / "age").write_text(AGE)
    (tmp_path / "age").chmod(0o755)
    (tmp_path / "key").write_text("ours")
    return SecretsHost(tmp_path)


def test_secrets_arrive_with_their_mode(host: SecretsHost) -> None:
    """Below /run/secrets, a link to the newest of the decrypted directories."""
    host.sealed = {"a": "ours one", "b": "ours two"}
    assert host.install()
    assert host.path("a").read_text() == "one"
    assert host.path("b").read_text() == "two"
    assert host.path("a").stat().st_mode & 0o777 == 0o440
    assert (host.root / "run/secrets").readlink().name == "1"


def test_a_secret_of_another_key_leaves_the_old_ones(
    host: SecretsHost, capfd: pytest.CaptureFixture[str]
) -> None:
    """All or nothing: the link does not move, and half of a directory does not stay."""
    host.sealed = {"a": "ours one"}
    assert host.install()
    host.sealed = {"a": "ours changed", "b": "theirs two"}
    assert not host.install()
    assert host.path("a").read_text() == "one"
    assert [p.name for p in (host.root / "run/secrets.d").iterdir()] == ["1"]
    assert "b: cannot decrypt" in capfd.readouterr().err


def test_without_a_key_nothing_is_decrypted(
    host: SecretsHost, capfd: pytest.CaptureFixture[str]
) -> None:
    """The message names the keys that were looked for."""
    (host.root / "key").unlink()
    host.sealed = {"a": "ours one"}
    assert not host.install()
    assert not host.path("a").exists()
    assert "/nowhere" in capfd.readouterr().err


def test_a_switch_restarts_what_uses_a_changed_secret(
    host: SecretsHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else; a boot restarts nothing at all."""
    host.sealed = {"a": "ours one", "b": "ours two"}
    assert host.install()
    assert host.restarts == ""
    monkeypatch.setenv("NIXOS_ACTION", "switch")
    host.sealed["a"] = "ours three"
    assert host.install()
    assert host.restarts == "a.service\n"
    assert host.path("a").read_text() == "three"
    assert [p.name for p in (host.root / "run/secrets.d").iterdir()] == ["2"]


def test_another_mode_is_a_change(
    host: SecretsHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that could read a secret may not be able to any more."""
    host.sealed = {"a": "ours one"}
    assert host.install()
    monkeypatch.setenv("NIXOS_ACTION", "switch")
    host.mode = "0400"
    assert host.install()
    assert host.restarts == "a.service\n"


def test_no_secrets_no_directory(tmp_path: Path) -> None:
    """A system without secrets is left as it is."""
    assert secrets.install(None, str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_lab_wants_its_master_key(tmp_path: Path) -> None:
    """Absent or empty, it says so and ends; it never makes itself one."""
    key = tmp_path / "key"
    lab.check_master_key(None)
    with pytest.raises(SystemExit, match="no master key"):
        lab.check_master_key(str(key))
    assert not key.exists()
    key.write_text("\n")
    with pytest.raises(SystemExit, match="is empty"):
        lab.check_master_key(str(key))
    key.write_text("sealed\n")
    lab.check_master_key(str(key))
