"""What decides `onboard-secrets`: who can read a secret, and where its text lies."""

from collections.abc import Iterator
from dataclasses import dataclass

from harness import (
    MASTER_KEY,
    Check,
    Rebuild,
    Secret,
    SecretsState,
    StoreSearch,
    absent,
    contains,
    differs_from,
    lacks,
    one_of,
)

NAME = "acceptance"
# switch-to-configuration's exit status for an activation that failed.
_ACTIVATION_FAILED = 2
_IN_MEMORY = ("ramfs", "tmpfs")
_PLACE = "files below /run/secrets"


@dataclass(frozen=True, slots=True)
class Deployed:
    """A switch, and what it made of the secret.

    `reader` is the InvocationID of the service that reads it, `read` the SHA-256 of
    what that service got, or why there is none.
    """

    rebuilt: Rebuild
    state: SecretsState
    reader: str
    read: str


def switches(during: str, rebuilt: Rebuild) -> Check:
    """Check that a switch with a secret succeeds."""
    return Check(
        "the switch that deploys the secret succeeds",
        rebuilt.rc,
        0,
        of="exit status",
        during=during,
        output=rebuilt.output,
    )


def decrypts(during: str, state: SecretsState) -> Check:
    """Check that the file is decrypted: without it nothing else can be judged."""
    return Check(
        "the secret is decrypted",
        sorted(state.files),
        contains(NAME),
        of=_PLACE,
        during=during,
        link=state.link,
    )


def protects(
    during: str, deployed: Deployed, digest: str, owner: str
) -> Iterator[Check]:
    """Check value, owner, mode and place of a decrypted secret, and its reader."""
    found = deployed.state.files[NAME]
    yield Check(
        "the secret has the value that was sealed",
        found.digest,
        digest,
        of="SHA-256",
        during=during,
    )
    yield Check(
        "the secret belongs to its owner",
        {"user": found.owner, "group": found.group},
        {"user": owner, "group": owner},
        during=during,
    )
    yield Check(
        "only owner and group can read the secret",
        found.mode,
        "440",
        of="mode",
        during=during,
    )
    yield in_memory(during, deployed.state)
    yield Check(
        "the service reads the value that was sealed",
        deployed.read,
        digest,
        of="SHA-256",
        during=during,
    )


def in_memory(during: str, state: SecretsState) -> Check:
    """Check that decrypted files are on a file system that no disk has."""
    return Check(
        "secrets are in memory only",
        state.fstype,
        one_of(*_IN_MEMORY),
        of="file system",
        during=during,
        directory=state.link,
    )


def store_has_no_plain_text(search: StoreSearch) -> Check:
    """Check that a search of the store finds the encrypted form only."""
    return Check(
        "the store does not have the secret's plain text",
        {"plain text": search.plain, "encrypted text": search.sealed},
        {"plain text": False, "encrypted text": True},
        of="found below /nix/store",
    )


def rotates(first: Deployed, second: Deployed) -> Iterator[Check]:
    """Check that a rotation restarts the reader, and leaves one directory."""
    yield Check(
        "a rotation restarts the service that reads the secret",
        second.reader,
        differs_from(first.reader),
        of="InvocationID",
        during="after a rotation",
    )
    yield Check(
        "one directory of decrypted secrets is kept",
        len(second.state.kept),
        1,
        of="number of directories",
        during="after a rotation",
        their_names=second.state.kept,
    )


def refuses_unreadable(
    failed: Rebuild, before: SecretsState, after: SecretsState, digest: str
) -> Iterator[Check]:
    """Check that a switch fails on what it cannot decrypt, and changes nothing."""
    during = "a secret sealed for another machine"
    yield Check(
        "a secret that cannot be decrypted fails the switch",
        failed.rc,
        _ACTIVATION_FAILED,
        of="exit status",
        during=during,
        output=failed.output,
    )
    yield Check(
        "a failed switch leaves the decrypted secrets alone",
        after,
        before,
        of="/run/secrets",
        during=during,
    )
    found = after.files.get(NAME)
    yield Check(
        "the value from before a failed switch stays",
        found and found.digest,
        digest,
        of="SHA-256",
        during=during,
    )


def master_key_present(during: str, state: SecretsState) -> Check:
    """Check that lab's own secret is there, which onboarding deployed."""
    return Check(
        "lab has its master key",
        sorted(state.files),
        contains(MASTER_KEY),
        of=_PLACE,
        during=during,
    )


def master_key_private(key: Secret, user: str) -> Check:
    """Check that only lab can read lab's master key."""
    return Check(
        "only lab can read lab's master key",
        {"user": key.owner, "mode": key.mode},
        {"user": user, "mode": "400"},
    )


def master_key_stays(during: str, before: Secret, after: SecretsState) -> Check:
    """Check that a secret that no switch changed has its value, owner and mode."""
    return Check(
        "a secret that no switch changed stays as it is",
        after.files.get(MASTER_KEY),
        before,
        of=MASTER_KEY,
        during=during,
    )


def needs_master_key(state: SecretsState, status: int, unit: str) -> Iterator[Check]:
    """Check that lab makes no other key: what the real one sealed would be lost."""
    during = "a start without the master key"
    yield Check(
        "lab makes no master key of its own",
        sorted(state.files),
        lacks(MASTER_KEY),
        of=_PLACE,
        during=during,
    )
    yield Check(
        "lab does not run without its master key",
        status or None,
        absent(),
        of="HTTP status",
        during=during,
        unit=unit,
    )
