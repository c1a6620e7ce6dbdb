"""The activation script: /etc, users, secrets, the link to the running system.

After nixpkgs nixos/modules/system/activation/activation-script.nix and
nixos/modules/system/etc/setup-etc.pl. It is run at boot by stage 2 and by every switch,
and can be run any number of times.
"""

from __future__ import annotations

import os
import sys

from . import files, secrets, users
from .spawn import run, say

LINGER = "/var/lib/systemd/linger"
GC_ROOTS = "/nix/var/nix/gcroots"


def main(toplevel: str) -> None:
    """Entry point of `activate`."""
    spec = files.load_json(f"{toplevel}/activation.json")
    status = 0
    users.apply(spec)
    setup_etc(os.path.realpath(f"{toplevel}/etc"))
    _linger(spec["users"])
    hostname = spec["hostName"]
    with open("/proc/sys/kernel/hostname", "w", encoding="ascii") as file:
        file.write(hostname)
    if not secrets.install(spec["secrets"]):
        say("Activation script snippet 'setupSecrets' failed")
        status = 1
    for name, script in sorted(spec["activationScripts"].items()):
        if run([script]) != 0:
            say(f"Activation script snippet '{name}' failed")
            status = 1
    files.link_atomically(toplevel, "/run/current-system")
    # Without this the running system could be collected once its profile moves on.
    files.ensure_directory(GC_ROOTS)
    files.link_atomically("/run/current-system", f"{GC_ROOTS}/current-system")
    sys.exit(status)


def _linger(specs: dict[str, dict[str, object]]) -> None:
    """Mark the users whose manager runs without a login (users.users.<n>.linger)."""
    files.ensure_directory(LINGER)
    for name, spec in specs.items():
        path = f"{LINGER}/{name}"
        if spec["linger"] and not os.path.exists(path):
            with open(path, "w", encoding="ascii"):
                pass
            if os.path.isdir("/run/systemd/seats"):  # logind runs already
                run(["loginctl", "enable-linger", name])
        elif not spec["linger"] and os.path.exists(path):
            os.unlink(path)


def setup_etc(source: str, etc: str = "/etc") -> None:
    """Make every file of the generation's etc appear in /etc.

    /etc/static points to the generation, /etc/NAME to /etc/static/NAME: one rename
    takes all files over at once. `NAME.mode` next to a file asks for a copy instead.
    """
    static = f"{etc}/static"
    files.link_atomically(source, static)
    copies = set(files.read(f"{etc}/.clean", "").split("\n")) - {""}
    kept: set[str] = set()
    wanted: set[str] = set()
    for name in _names(source, ""):
        if name.endswith((".mode", ".uid", ".gid")) and os.path.lexists(
            f"{source}/{name.rpartition('.')[0]}"
        ):
            continue
        wanted.add(name)
        files.ensure_directory(os.path.dirname(f"{etc}/{name}"))
        if os.path.exists(f"{source}/{name}.mode"):
            _copy(source, etc, name)
            kept.add(name)
        else:
            _link(static, etc, name)
    for name in copies - wanted:
        if os.path.exists(f"{etc}/{name}"):
            os.unlink(f"{etc}/{name}")
    _remove_stale(etc, static, wanted)
    if kept != copies:
        files.write_atomically(f"{etc}/.clean", "".join(f"{n}\n" for n in sorted(kept)))


def _names(source: str, below: str) -> list[str]:
    """All entries of the generation's etc; a link to a directory is one entry."""
    names = []
    for entry in sorted(os.listdir(f"{source}/{below}")):
        name = f"{below}/{entry}" if below else entry
        path = f"{source}/{name}"
        if os.path.isdir(path) and not os.path.islink(path):
            names += _names(source, name)
        else:
            names.append(name)
    return names


def _link(static: str, etc: str, name: str) -> None:
    target, path = f"{static}/{name}", f"{etc}/{name}"
    if os.path.isdir(path) and not os.path.islink(path):
        # A directory of the base is in the way: the generation owns this name now.
        _remove_tree(path)
    files.link_atomically(target, path)


def _remove_tree(path: str) -> None:
    for entry in os.scandir(path):
        if entry.is_dir(follow_symlinks=False):
            _remove_tree(entry.path)
        else:
            os.unlink(entry.path)
    os.rmdir(path)


def _copy(source: str, etc: str, name: str) -> None:
    mode = int(files.read(f"{source}/{name}.mode"), 8)
    text, path = files.read(f"{source}/{name}"), f"{etc}/{name}"
    if os.path.islink(path) or files.read(path, "\0") != text:
        if os.path.islink(path):
            os.unlink(path)
        files.write_atomically(path, text, mode)


def _remove_stale(etc: str, static: str, wanted: set[str]) -> None:
    """Remove links into /etc/static that lead nowhere any more."""
    stack = [""]
    while stack:
        below = stack.pop()
        for entry in os.scandir(f"{etc}/{below}"):
            name = f"{below}/{entry.name}" if below else entry.name
            if entry.is_symlink():
                if name in wanted or name == "static":
                    continue
                if os.readlink(entry.path).startswith(f"{static}/"):
                    os.unlink(entry.path)
            elif entry.is_dir():
                stack.append(name)
