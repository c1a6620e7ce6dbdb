"""Secrets: decrypted at activation into memory, each for the user that it belongs to.

After Mic92/sops-nix pkgs/sops-install-secrets/main.go: a file system in memory at
/run/secrets.d has one directory per activation, /run/secrets points to the newest. It
moves only when every secret could be decrypted, so a failed activation leaves those of
the one before. Units that want to know of a change are restarted by the switch.

What a value is encrypted with is age's own format, for the host's ssh key (age(1)).
"""

from __future__ import annotations

import os

from . import files
from .spawn import run, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RUN = "/run"
CHUNK = 1 << 16


class Undecryptable(Exception):
    """A secret cannot be had; the message says which and why."""


def install(spec: dict[str, Any] | None, run_directory: str = RUN) -> bool:
    """Decrypt all secrets and let /run/secrets point to them; whether it worked."""
    if not spec:
        return True
    mount, link = f"{run_directory}/secrets.d", f"{run_directory}/secrets"
    files.ensure_directory(mount, 0o751)
    if run_directory == RUN and not os.path.ismount(mount):
        _mount(mount)
    old = os.path.realpath(link) if os.path.islink(link) else None
    number = int(os.path.basename(old)) + 1 if old else 1
    new = f"{mount}/{number}"
    _remove(new)
    os.mkdir(new)
    os.chmod(new, 0o751)
    try:
        for secret in spec["secrets"]:
            _write(new, secret, decrypt(spec, secret))
    except (Undecryptable, OSError, KeyError) as error:
        _remove(new)
        say(f"sops-install-secrets: {error}")
        return False
    _ask_for_restarts(spec["secrets"], old, new, run_directory)
    files.link_atomically(new, link)
    for secret in spec["secrets"]:
        if secret["path"] != f"{RUN}/secrets/{secret['name']}":
            files.ensure_directory(os.path.dirname(secret["path"]))
            files.link_atomically(f"{link}/{secret['name']}", secret["path"])
    _prune(mount, number, spec["keepGenerations"])
    return True


def decrypt(spec: dict[str, Any], secret: dict[str, Any]) -> bytes:
    """Return a secret in plain; it never touches a disk. Raises Undecryptable."""
    sealed = files.load_json(secret["file"])[secret["key"]]
    keys = [path for path in spec["identities"] if os.path.exists(path)]
    if not keys:
        raise Undecryptable(f"{secret['name']}: no key of {spec['identities']}")
    argv = [spec["age"], "--decrypt"]
    for key in keys:
        argv += ["--identity", key]
    plain, sealed_in = os.memfd_create("plain"), os.memfd_create("sealed")
    try:
        os.write(sealed_in, sealed.encode())
        os.lseek(sealed_in, 0, os.SEEK_SET)
        actions = [
            (os.POSIX_SPAWN_DUP2, sealed_in, 0),
            (os.POSIX_SPAWN_DUP2, plain, 1),
        ]
        pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status != 0:
            raise Undecryptable(
                f"{secret['name']}: cannot decrypt {secret['file']}, age ended with"
                f" {status}"
            )
        os.lseek(plain, 0, os.SEEK_SET)
        return b"".join(iter(lambda: os.read(plain, CHUNK), b""))
    finally:
        os.close(plain)
        os.close(sealed_in)


def _mount(directory: str) -> None:
    """Give secrets a file system that is never written to a disk, swap included."""
    options = "nodev,nosuid,mode=0751"
    run(["mount", "-t", "ramfs", "-o", options, "ramfs", directory])


def _write(directory: str, secret: dict[str, Any], value: bytes) -> None:
    path = f"{directory}/{secret['name']}"
    # Readable by root alone until it has its final owner and mode.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(value)
        os.fchown(
            file.fileno(),
            _id("/etc/passwd", secret["owner"]),
            _id("/etc/group", secret["group"]),
        )
        os.fchmod(file.fileno(), int(secret["mode"], 8))


def _id(table: str, name: str) -> int:
    """Look a user or group up where activation has just written it."""
    for line in files.read(table).splitlines():
        fields = line.split(":")
        if fields[0] == name:
            return int(fields[2])
    raise Undecryptable(f"{name} is not in {table}")


def _ask_for_restarts(
    secrets: list[dict[str, Any]], old: str | None, new: str, run_directory: str
) -> None:
    """List the units that the switch has to restart or reload; a boot has none."""
    if old is None or os.environ.get("NIXOS_ACTION") not in {"switch", "test"}:
        return
    changed = [s for s in secrets if _seen(old, s["name"]) != _seen(new, s["name"])]
    for kind in ("restart", "reload"):
        units = {unit for secret in changed for unit in secret[f"{kind}Units"]}
        if units:
            files.ensure_directory(f"{run_directory}/nixos")
            path = f"{run_directory}/nixos/activation-{kind}-list"
            with open(path, "a", encoding="utf-8") as file:
                file.write("".join(f"{unit}\n" for unit in sorted(units)))


def _seen(directory: str, name: str) -> object:
    """Return what a service may notice of a secret: its content, owner and mode."""
    try:
        with open(f"{directory}/{name}", "rb") as file:
            facts = os.fstat(file.fileno())
            return file.read(), facts.st_mode, facts.st_uid, facts.st_gid
    except FileNotFoundError:
        return None


def _prune(mount: str, newest: int, keep: int) -> None:
    for name in os.listdir(mount):
        if keep and name.isdecimal() and int(name) <= newest - keep:
            _remove(f"{mount}/{name}")


def _remove(directory: str) -> None:
    if os.path.isdir(directory):
        for name in os.listdir(directory):
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)
