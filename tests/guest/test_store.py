"""The store view: errors by their kind, and a reader that reports what it read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from harness.errors import MachineError
from harness.guest import jobs, store
from harness.guest.jobs import JobEnd
from harness.guest.script import ask, parse
from harness.guest.store import LivePaths, Mount, Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.guest.conftest import LocalGuest

HASH = "0123456789abcdfghijklmnpqrsvwxyz"
PATH = f"/nix/store/{HASH}"

# Knows every path but those that are called "forgotten".
FORGETFUL = """
echo "warning: of no consequence" >&2
query=$1
shift
case $query in --check-validity) shift ;; esac
for path; do
    case $query,$path in
        -qR,*forgotten) echo "error: path '$path' is not valid" >&2; exit 1 ;;
        -qR,*) echo "$path" ;;
        *forgotten) echo "$path" ;;
    esac
done
"""

# What starting a reader adds to the bytes it reads.
OVERHEAD = 100_000

COUNTS = (
    "\x1eunknown\n\x1ecounts\n"
    "paths=2\nfiles=3\nexpected=30\nbytes={bytes}\nerrors={errors}\n"
)


def reading(errors: str, count: int, *, size: int = 30) -> store.Reading:
    """Read what the reader would have printed."""
    text = COUNTS.format(bytes=size, errors=count) + f"\x1eerrors\n{errors}\x1eend\n"
    return store.parse_reading(parse("read.sh", text), frozenset())


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (f"cat: {PATH}-a/b: Stale file handle", "ESTALE"),
        (f"find: '{PATH}-a: b': No such file or directory", "ENOENT"),
        (f"cat: {PATH}-a: Input/output error", "EIO"),
        (f"stat: cannot statx '{PATH}-a': Stale file handle", "ESTALE"),
        (f"error: path '{PATH}-a' is not valid", "other"),
    ],
)
def test_errors_are_told_apart(message: str, name: str) -> None:
    """The errno is in the last words of a message of any program."""
    assert store.error_name(message) == name


def test_a_reading_counts_by_errno() -> None:
    """One stale handle among many clean files is not clean."""
    stale = f"cat: {PATH}-a/b: Stale file handle\n"
    assert reading("", 0).clean
    assert reading(stale, 1).errors == {"ESTALE": 1}
    assert not reading(stale, 1).clean
    assert not reading("", 0, size=29).clean
    assert reading(stale * 2, 5).errors == {"ESTALE": 2, "other": 3}


@pytest.fixture
def here(guest: LocalGuest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return a store view of this computer, whose closures are the paths themselves."""
    guest.program("nix-store", 'shift; for p; do echo "$p"; done')
    monkeypatch.setattr(jobs, "DIRECTORY", str(tmp_path / "work"))
    return Store(guest)


def test_every_file_is_read(here: Store, tmp_path: Path) -> None:
    """Files with any name are read, links are not followed, and all is counted."""
    tree = tmp_path / "tree"
    (tree / "deep er").mkdir(parents=True)
    (tree / "a\nb").write_bytes(b"x" * 1000)
    (tree / "deep er" / "c 'd'").write_bytes(b"y" * 234)
    (tree / "-n").write_bytes(b"")
    (tree / "link").symlink_to("nowhere")
    (tmp_path / "single").write_bytes(b"z" * 66)
    roots = (str(tree), str(tmp_path / "single"))
    read = here.read_everything(roots)
    assert (read.paths, read.files) == (2, 4)
    assert read.expected_bytes == 1300
    assert 1300 <= read.bytes < 1300 + OVERHEAD
    assert read.clean


def test_a_root_that_is_gone_does_not_hide_the_others(
    here: Store, tmp_path: Path
) -> None:
    """A missing root is ENOENT; what else there is is still read."""
    (tmp_path / "there").write_bytes(b"z" * 66)
    read = here.read_everything((str(tmp_path / "gone"), str(tmp_path / "there")))
    assert read.errors == {"ENOENT": 1}
    assert read.bytes >= read.expected_bytes == 66
    assert "gone" in read.complaints[0]


def test_a_root_that_nix_does_not_know_is_an_error(
    here: Store, guest: LocalGuest, tmp_path: Path
) -> None:
    """An existing but invalid root counts; the others are still read."""
    for name in ("valid", "forgotten"):
        (tmp_path / name).write_bytes(b"z" * 66)
    guest.program("nix-store", FORGETFUL)
    read = here.read_everything((str(tmp_path / "forgotten"), str(tmp_path / "valid")))
    assert read.errors == {"invalid": 1}
    assert "forgotten" in read.complaints[0]
    assert read.expected_bytes == 66


def test_what_a_build_has_not_finished_is_no_error(
    here: Store, guest: LocalGuest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that only a process uses and Nix does not know yet is left alone."""
    for name in ("valid", "forgotten"):
        (tmp_path / name).write_bytes(b"z" * 66)
    guest.program("nix-store", FORGETFUL)
    live = LivePaths({"/run/x": f"{tmp_path}/valid"}, (f"{tmp_path}/forgotten",), ())
    monkeypatch.setattr(here, "live", lambda: live)
    read = here.read_everything()
    assert read.clean
    assert read.unknown == (f"{tmp_path}/forgotten",)
    assert read.expected_bytes == 66


def test_what_was_let_go_meanwhile_may_be_missing(
    here: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old generation that a collection took is no loss; one that lives is."""
    (tmp_path / "kept").write_bytes(b"z" * 66)
    kept, gone = f"{tmp_path}/kept", f"{tmp_path}/gone"
    states = [LivePaths({"a": kept, "b": gone}, (), ()), LivePaths({"a": kept}, (), ())]
    monkeypatch.setattr(here, "live", lambda: states.pop(0))
    assert here.read_everything().clean
    states = [LivePaths({"a": kept, "b": gone}, (), ())] * 2
    assert here.read_everything().errors == {"ENOENT": 1}


def test_what_was_stale_once_stays_stale() -> None:
    """A second reading excuses what is missing, but no stale handle."""
    stale = f"cat: {PATH}-a/b: Stale file handle\n"
    missing = f"cat: {PATH}-a/c: No such file or directory\n"
    merged = store.merge(reading(stale + missing, 2), reading("", 0))
    assert merged.errors == {"ESTALE": 1}
    assert merged.complaints == (stale.strip(),)


def test_a_file_that_does_not_read_is_an_error(here: Store) -> None:
    """An I/O error while reading is counted as one."""
    read = here.read_everything((f"/proc/{os.getpid()}/mem",))
    assert read.errors == {"EIO": 1}
    assert read.files == 1


def test_a_reader_that_reads_nothing_is_broken(here: Store, tmp_path: Path) -> None:
    """No file at all means that the instrument missed the store."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(MachineError, match="read no file"):
        here.read_everything((str(tmp_path / "empty"),))


def test_live_paths_are_links_and_processes() -> None:
    """Roots of both kinds are listed once; a mapping whose file is gone is named."""
    text = f"""\
\x1elinks
/run/current-system -> {PATH}-system
/nix/var/nix/profiles/system-1-link -> {PATH}-system
\x1eprocesses
{PATH}-bash
\x1edeleted
/proc/77/maps:7f00-7f01 r-xp 00000000 fe:02 4711    {PATH}-glibc/lib/a b.so (deleted)
/proc/77/maps:7f01-7f02 r--p 00001000 fe:02 4711    {PATH}-glibc/lib/a b.so (deleted)
/proc/78/exe:{PATH}-bash/bin/bash (deleted)
\x1eend
"""
    live = store.parse_live(parse("live.sh", text))
    assert live.roots == (f"{PATH}-system", f"{PATH}-bash")
    assert live.deleted == (
        (77, f"{PATH}-glibc/lib/a b.so"),
        (78, f"{PATH}-bash/bin/bash"),
    )


def test_live_runs_here(guest: LocalGuest) -> None:
    """The script itself runs to its end on a computer without a store."""
    assert "processes" in ask(guest, "live.sh")


def test_a_collection_is_read_by_its_figures() -> None:
    """Paths and bytes are added up over all rounds; a failed one shows in rc."""
    text = (
        "removing old generations of profile /nix/var/nix/profiles/system\n"
        "deleting '/nix/store/x'\n12 store paths deleted, 3.50 MiB freed\n"
        "1 store path deleted, 512.00 KiB freed\n0 store paths deleted, 0.00 B freed\n"
    )
    done = store.parse_collection(JobEnd(1, text, 0, 1))
    assert (done.deleted, done.freed_bytes, done.rc) == (13, 4 * 2**20, 1)
    assert store.parse_collection(JobEnd(0, "nothing\n", 0, 1)).deleted == 0


def test_collections_run_one_after_the_other(
    guest: LocalGuest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop of collections keeps the failure of any of them."""
    monkeypatch.setattr(jobs, "DIRECTORY", str(tmp_path))
    guest.program(
        "nix-collect-garbage",
        'echo "$*: 2 store paths deleted, 1.00 MiB freed"; mkdir "$0.once"',
    )
    done = Store(guest).start_collection("-d", "--max-freed", "1G", times=3).wait(20)
    assert done.deleted == 6
    assert done.rc == 1
    assert "-d --max-freed 1G:" in done.output


def test_verification_lists_problems() -> None:
    """A modified or missing path is a problem even where the exit status is 0."""
    text = (
        "reading the Nix store...\nchecking path existence...\nchecking hashes...\n"
        f"path '{PATH}-a' was modified! expected hash 'sha256:x', got 'sha256:y'\n"
        f"error: path '{PATH}-b' disappeared, but it still has valid referrers!\n"
    )
    assert len(store.parse_verification(0, text).problems) == 2
    assert not store.parse_verification(0, text).clean
    assert store.parse_verification(0, "reading the Nix store...\n").clean
    assert not store.parse_verification(1, "").clean


def mounts(*lines: str) -> tuple[Mount, ...]:
    """Read lines of mountinfo, reduced to point, type and source."""
    text = "\n".join(
        f"30 1 0:1 / {point} rw,relatime shared:1 - {fstype} {source} rw"
        for point, fstype, source in (line.split() for line in lines)
    )
    return store.parse_mounts(text)


@pytest.mark.parametrize(
    ("lines", "foreign"),
    [
        (("/ ext4 /dev/vda2", "/nix/store ext4 /dev/vda2"), []),
        (("/ ext4 /dev/vda2", "/nix/store overlay overlay"), ["/nix/store"]),
        (("/ ext4 /dev/vda2", "/nix/.ro-store virtiofs ro"), ["/nix/.ro-store"]),
        (("/ ext4 /dev/vda2", "/nix/store 9p store"), ["/nix/store"]),
        (("/ ext4 /dev/vda2", "/nix/store fuse.sshfs h:/"), ["/nix/store"]),
        (("/ overlay overlay",), ["/"]),
        (("/ overlay overlay", "/nix ext4 /dev/vdb"), []),
        (("/ ext4 /dev/vda2", "/home virtiofs home", "/nixos 9p x"), []),
    ],
)
def test_whose_store_it_is(lines: tuple[str, ...], foreign: list[str]) -> None:
    """A store is the guest's own unless something under or over it is not."""
    assert [m.point for m in store.foreign(mounts(*lines))] == foreign


def test_mounts_and_complaints_of_this_computer(guest: LocalGuest) -> None:
    """The script runs here; the root is mounted."""
    text = ask(guest, "complaints.sh").text("mountinfo")
    assert "/" in {mount.point for mount in store.parse_mounts(text)}


def test_a_collection_that_was_waited_for_is_announced(
    guest: LocalGuest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is over; one that was only started is not."""
    monkeypatch.setattr(jobs, "DIRECTORY", str(tmp_path))
    guest.program("nix-collect-garbage", f"touch {tmp_path}/collected")
    seen: list[bool] = []
    collected = tmp_path / "collected"
    view = Store(guest, lambda: seen.append(collected.exists()))
    view.start_collection().wait(20)
    assert seen == []
    collected.unlink()
    assert view.collect_garbage(timeout=20).rc == 0
    assert seen == [True]
