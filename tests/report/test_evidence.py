"""The recorder: soft checks, files, series, and no secrets."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from harness.errors import CheckFailed, HarnessError
from harness.evidence import (
    Check,
    Point,
    Recorder,
    at_most,
    contains,
    redact,
    scrub,
    secret_setting,
    slug,
)
from harness.process import run
from tests.waiting import patient

PEM = (
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\nQUJD\n"
    "-----END OPENSSH PRIVATE KEY-----\n"
)


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    """Give a recorder with a directory that does not exist yet."""
    return Recorder("suites/x.py::test_y", tmp_path / "evidence")


def recorded(recorder: Recorder) -> dict[str, object]:
    """Read back what is on disk."""
    text = (recorder.directory / "record.json").read_text()
    data: dict[str, object] = json.loads(text)
    return data


def test_soft_checks_are_all_told_at_the_end(recorder: Recorder) -> None:
    """Checks that do not hold let the test go on, then fail it with every name."""
    assert not recorder(Check("one", "first", "second"))
    assert recorder(Check("two", 2, 2))
    assert not recorder([Check("three", ["seen"], []), Check("four", 4, at_most(5))])
    with pytest.raises(CheckFailed, match="failed checks: one, three"):
        recorder.conclude()


def test_nothing_recorded_nothing_on_disk(recorder: Recorder) -> None:
    """A test without evidence leaves no directory."""
    recorder.conclude()
    assert not recorder.directory.exists()


def test_require_stops_at_once(recorder: Recorder) -> None:
    """A required check that does not hold raises with the soft failures before it."""
    recorder(Check("soft", "a", "A"))
    with pytest.raises(CheckFailed) as caught:
        recorder.require(Check("hard", "b", "B"))
    assert caught.value.failures == (
        ("soft", "expected A; seen a"),
        ("hard", "expected B; seen b"),
    )


def test_checks_survive_a_crash(tmp_path: Path) -> None:
    """A process that dies right after a check has left it on disk."""
    script = (
        "import os, sys; from pathlib import Path;"
        "from harness.evidence import Check, Recorder;"
        "Recorder('x', Path(sys.argv[1]))(Check('alive', 4, 4, of='PID'));"
        "os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parents[2]
    ended = run(
        [sys.executable, "-c", script, str(tmp_path)],
        deadline=patient(30, "a process to die"),
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert ended.rc == -9
    record = json.loads((tmp_path / "record.json").read_text())
    assert [(c["name"], c["ok"]) for c in record["checks"]] == [("alive", True)]


def test_attachments_keep_their_names_apart(recorder: Recorder) -> None:
    """Two attachments of one name are two files, and none hides the record."""
    first = recorder.attach("unit.txt", "a")
    second = recorder.attach("unit.txt", b"b")
    third = recorder.attach("record.json", {"c": 1})
    assert [p.name for p in (first, second, third)] == [
        "unit.txt",
        "unit-2.txt",
        "record-2.json",
    ]
    assert len(recorded(recorder)["attachments"]) == 3  # type: ignore[arg-type]


def test_attachment_names_cannot_leave_the_directory(recorder: Recorder) -> None:
    """Any name becomes one file name."""
    path = recorder.attach("../../etc/x y", "a")
    assert path.parent == recorder.directory


def test_series_kinds_follow_from_names(recorder: Recorder) -> None:
    """The first word of a series' name decides how it is drawn."""
    kinds = {}
    for name in ("heartbeat-alpha", "dns", "inodes /", "address .15", "load"):
        path = recorder.series(name, [Point(0, 1), (1, 2), (2, 3, "x")])
        kinds[name] = json.loads(path.read_text())["kind"]
    assert list(kinds.values()) == ["heartbeat", "dns", "inodes", "address", "plot"]


def test_private_keys_are_cut_out(recorder: Recorder) -> None:
    """Keys vanish from attachments, reasons and notes; the rest stays."""
    path = recorder.attach("log", f"before\n{PEM}after\n")
    assert path.read_text() == "before\n[redacted: private key]\nafter\n"
    recorder(Check("c", PEM, contains(PEM), log={"line": [PEM]}))
    recorder.note("AGE-SECRET-KEY-1QQQ")
    assert "b3Bl" not in json.dumps(recorded(recorder))
    assert "QQQ" not in json.dumps(recorded(recorder))


def test_a_key_cut_off_is_still_a_key() -> None:
    """A truncated log does not save half a key."""
    assert redact(PEM[:60].encode()) == b"[redacted: private key]"


@pytest.mark.parametrize(
    "seed",
    [
        "password: hunter2",
        "users:\n  - name: x\n    hashed_passwd: $6$abc",
        "chpasswd:\n  list: |\n    root:x",
        '{"passwd": "hunter2"}',
        "PASSWORD=hunter2",
    ],
)
def test_seeds_with_passwords_are_refused(recorder: Recorder, seed: str) -> None:
    """Evidence that sets a password is refused; the error does not contain it."""
    with pytest.raises(HarnessError, match="sets a secret") as caught:
        recorder.attach("user-data", seed)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "innocent",
    [
        "Accepted password for root from 10.0.0.1",
        "PasswordAuthentication no",
        "stat: /etc/passwd: No such file",
        "lock_passwd: true",
        "password: [redacted]",
    ],
)
def test_talk_of_passwords_is_no_password(innocent: str) -> None:
    """Ordinary log lines are not mistaken for secrets."""
    assert secret_setting(innocent.encode()) == ""


def test_collected_files_are_scrubbed(tmp_path: Path) -> None:
    """What a machine leaves keeps no keys and no password values."""
    (tmp_path / "console.log").write_text(f"x password: hunter2\n{PEM}")
    scrub(tmp_path)
    assert (tmp_path / "console.log").read_text() == (
        "x password: [redacted]\n[redacted: private key]\n"
    )


@pytest.mark.parametrize(
    "value",
    [
        {"password": "hunter2"},
        {"MESSAGE": 'seed {"passwd": "hunter2", "a": 1} read'},
        {"MESSAGE": "password=hunter2"},
        {"MESSAGE": "hashed_passwd: 'hunter2 x' then"},
    ],
)
def test_scrubbed_json_is_still_json(tmp_path: Path, value: dict[str, str]) -> None:
    """A journal stays valid JSON after redaction."""
    path = tmp_path / "journal.json"
    path.write_text(json.dumps(value) + "\n")
    scrub(tmp_path)
    assert "hunter2" not in path.read_text()
    assert json.loads(path.read_text()).keys() == value.keys()


def test_scrubbing_leaves_other_bytes_alone(tmp_path: Path) -> None:
    """A file without secrets keeps its bytes, text or not."""
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(range(256)))
    scrub(tmp_path)
    assert path.read_bytes() == bytes(range(256))


def test_slugs_are_short_and_unique() -> None:
    """Long names stay apart although they are cut."""
    long = "x" * 300
    assert slug(long + "a") != slug(long + "b")
    assert len(slug(long)) < 110
    assert slug("../..") == "x"
