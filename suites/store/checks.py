"""What decides `gc-no-estale`: reading all that lives, the store and the sessions."""

from collections.abc import Iterator, Mapping, Sequence

from harness import (
    Budgets,
    Check,
    Generation,
    Heartbeat,
    LabState,
    Mount,
    Quantity,
    Reading,
    Rebuild,
    SystemState,
    Verification,
    absent,
    at_least,
    heartbeat_complete,
    heartbeat_uninterrupted,
    present,
    sessions_unchanged,
)

# Words of QEMU's devices through which a host shares its files with a guest.
_SHARES = ("virtfs", "fsdev", "9p", "vhost-user-fs", "virtiofs")


def owns_its_store(mounts: Sequence[Mount], argv: Sequence[str]) -> Iterator[Check]:
    """Hold the store to lie on a disk of the guest's own; `mounts` are the others."""
    yield Check(
        "the Nix store is on the guest's own file system",
        {mount.point: f"{mount.fstype} from {mount.source}" for mount in mounts},
        absent(),
        of="foreign mounts that hold /nix or lie below it",
    )
    yield Check(
        "QEMU shares no host directory with the guest",
        [word for word in argv if any(share in word for share in _SHARES)],
        absent(),
        of="arguments of share devices",
    )


def reads_back(reading: Reading, during: str) -> Iterator[Check]:
    """Hold every regular file of every live closure to being read in full."""
    yield Check(
        "every file of every live closure reads back",
        reading.errors,
        absent(),
        of="read errors by errno",
        during=during,
        store_paths=reading.paths,
        files=reading.files,
        messages=reading.complaints[:3],
    )
    yield Check(
        "as many bytes are read as the live files have",
        Quantity(reading.bytes, "bytes"),
        at_least(Quantity(reading.expected_bytes, "bytes")),
        of="total",
        during=during,
    )


def store_unharmed(
    verified: Verification,
    deleted: Sequence[tuple[int, str]],
    kernel: Sequence[str],
    during: str,
) -> Iterator[Check]:
    """Hold store, processes and kernel to have no trace of a deleted live path.

    `deleted` has PIDs and the files that they use although these are gone; `kernel` has
    the error lines of the kernel's log.
    """
    yield Check(
        "the store verifies against its database",
        {"exit status": verified.rc, "problems": verified.problems},
        {"exit status": 0, "problems": ()},
        of="nix-store --verify",
        during=during,
        output=verified.output,
    )
    yield Check(
        "no process runs or maps a deleted store file",
        [f"PID {pid}: {file}" for pid, file in deleted],
        absent(),
        of="processes with deleted files",
        during=during,
    )
    yield Check(
        "the kernel log has no stale handle or file system error",
        kernel,
        absent(),
        of="lines of the kernel log",
        during=during,
    )


def spares_open_file(path: str, found: str | None) -> Check:
    """Hold the collector to keep a file that no generation but a session has."""
    return Check(
        "a store file that a session has open is kept",
        found,
        path,
        of="open file",
        during="after the first collection",
    )


def sessions_live_on(
    before: LabState,
    after: LabState,
    hearts: Mapping[str, Heartbeat],
    budgets: Budgets,
) -> Iterator[Check]:
    """Hold sessions to their processes, and their heartbeats to never pausing."""
    during = "during two collections"
    yield sessions_unchanged(before.sessions, after.sessions, during=during)
    for session, heart in hearts.items():
        yield heartbeat_complete(session, heart, during=during)
        recent = heart.since(before.uptime)
        yield heartbeat_uninterrupted(session, recent, budgets, during=during)


def switch_succeeds(rebuilt: Rebuild, state: SystemState) -> Iterator[Check]:
    """Hold a switch to its success although a collector runs all the time."""
    during = "garbage collection during a switch"
    yield Check(
        "nixos-rebuild succeeds during garbage collection",
        rebuilt.rc,
        0,
        of="exit status",
        output=rebuilt.output,
    )
    current, profile = state.current, state.profile
    yield Check(
        "there is a current generation",
        current and current.path,
        present(),
        of="/run/current-system",
        during=during,
    )
    yield Check(
        "the system profile's generation is the current one",
        current and current.path,
        profile and profile.path,
        of="/run/current-system",
        during=during,
    )


def keeps_generations(before: SystemState, after: SystemState) -> Iterator[Check]:
    """Hold a collection of old generations to keep those that are in use."""
    during = "nix-collect-garbage --delete-older-than 30d"
    was, now = _in_use(before), _in_use(after)
    yield Check(
        "the booted, current and profile generations are kept",
        {name: generation and generation.path for name, generation in now.items()},
        {name: generation and generation.path for name, generation in was.items()},
        during=during,
    )
    yield Check(
        "kernel, initrd and modules of the generations in use are kept",
        [name for name, generation in now.items() if generation != was[name]],
        absent(),
        of="changed generations",
        during=during,
    )


def _in_use(state: SystemState) -> dict[str, Generation | None]:
    return {
        "booted": state.booted,
        "current": state.current,
        "profile": state.profile,
    }
