"""The secrets view: the decrypted secrets of a guest, and sealing one for it.

Values never come out of the guest: what is compared are digests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from harness.errors import MachineError
from harness.guest.script import Sections, ask, reads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.guest.transport import Guest

HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"
_FIELDS = 5


@dataclass(frozen=True, slots=True)
class Secret:
    """One decrypted file; `mode` in octal as `stat` prints it."""

    owner: str
    group: str
    mode: str
    digest: str


@dataclass(frozen=True, slots=True)
class SecretsState:
    """What is under /run/secrets. `link` is empty where there is no such link.

    `fstype` is that of the file system it leads to, `kept` the decrypted directories.
    """

    link: str
    fstype: str
    kept: tuple[str, ...]
    files: Mapping[str, Secret]


@dataclass(frozen=True, slots=True)
class StoreSearch:
    """Which of two texts a search of the whole store has come upon."""

    plain: bool
    sealed: bool


class Secrets:
    """Seals secrets for a guest, and looks after what it makes of them."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def recipient(self) -> str:
        """Return the guest's ssh host key, the one that can read what is sealed."""
        return self._guest.execute("cat", HOST_KEY).check().stdout.strip()

    def seal(self, values: Mapping[str, str], recipient: str | None = None) -> str:
        """Encrypt values for the guest's own or another key; return the file's text.

        The guest's `age` does it, from a pipe: nothing plain is written anywhere.
        """
        to = recipient or self.recipient()
        sealed = {}
        for name, value in values.items():
            argv = ("age", "--encrypt", "--armor", "--recipient", to)
            done = self._guest.execute(*argv, stdin=value.encode())
            if done.rc != 0:
                raise MachineError(f"{name} was not sealed", seen=done.stderr)
            sealed[name] = done.stdout
        return json.dumps(sealed, indent=1) + "\n"

    def state(self) -> SecretsState:
        """Ask for everything at once; one process."""
        return parse(ask(self._guest, "secrets.sh"))

    @staticmethod
    def digest(value: str) -> str:
        """Return what `Secret.digest` is for a value."""
        return sha256(value.encode()).hexdigest()

    def search_store(self, plain: str, sealed: str) -> StoreSearch:
        """Read all of the store for a secret, and for a line of its encrypted form.

        Finding the latter is what proves that the search reads everything.
        """
        patterns = f"{plain}\n{sealed}\n".encode()
        found = self._guest.execute(
            *("grep", "--recursive", "--only-matching", "--no-filename", "--text"),
            *("--fixed-strings", "--file=-", "/nix/store"),
            stdin=patterns,
            timeout=300.0,
        )
        if found.rc not in {0, 1}:
            raise MachineError("the store was not searched", seen=found.stderr)
        lines = set(found.stdout.splitlines())
        return StoreSearch(plain=plain in lines, sealed=sealed in lines)


@reads
def parse(sections: Sections) -> SecretsState:
    """Read what `secrets.sh` printed. Raises MachineError for an odd line."""
    place = sections.pairs("place")
    files = {}
    for line in sections.lines("files"):
        words = line.split(maxsplit=_FIELDS - 1)
        if len(words) != _FIELDS:
            raise MachineError("secrets.sh printed an odd line", seen=line)
        owner, group, mode, hashed, name = words
        files[name] = Secret(owner, group, mode, hashed)
    return SecretsState(
        link=place.get("link", ""),
        fstype=place.get("fstype", ""),
        kept=tuple(sections.lines("kept")),
        files=files,
    )
