"""What this computer can do, asked of this computer and of stand-ins for others."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from harness import host
from harness.errors import HostError
from harness.host import Accel, accelerator, doctor
from tests.waiting import patient


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a cache of its own."""
    path = tmp_path / "cache"
    monkeypatch.setenv("HARNESS_CACHE", str(path))
    return path


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for QEMU first in PATH; tests write its script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(accelerator, "PROBE_S", 0.5)
    monkeypatch.setattr(accelerator, "_KVM", Path(os.devnull))
    host.qemu_version.cache_clear()
    behave(folder / host.QEMU, "exit 1")
    return folder / host.QEMU


def behave(qemu: Path, script: str, version: str = "9.9.9") -> None:
    """Make the stand-in for QEMU do this when it is to run a machine."""
    qemu.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = --version ] && {{ echo "QEMU emulator version {version}"; exit; }}\n'
        f"{script}\n"
    )
    qemu.chmod(0o755)


def choose(choice: Accel = Accel.AUTO) -> host.Accelerator:
    """Choose with a kernel at hand."""
    deadline = patient(20, "the probe")
    return host.choose_accelerator(choice, Path("/vmlinuz"), deadline)


def test_the_cache_is_this_users_alone(cache: Path) -> None:
    """$HARNESS_CACHE decides where; 0700."""
    assert host.cache_dir() == cache
    assert cache.stat().st_mode & 0o777 == 0o700


def test_the_version_is_read_from_qemu_itself() -> None:
    """As in 7.2.22."""
    if shutil.which(host.QEMU) is None:
        pytest.skip("QEMU is not installed")
    host.qemu_version.cache_clear()
    assert re.fullmatch(r"\d+(\.\d+)+", host.qemu_version())


def test_kvm_is_believed_when_a_kernel_speaks(qemu: Path) -> None:
    """The first line is enough, QEMU need not end."""
    behave(qemu, "echo '[    0.000000] Linux version 6.12 (x)'; exec sleep 60")
    chosen = choose()
    assert (chosen.name, chosen.cpu, chosen.patience) == ("kvm", "host", 1.0)


def test_another_cpu_model_is_tried(qemu: Path) -> None:
    """Where QEMU aborts on the host's own."""
    behave(
        qemu,
        'case "$*" in *"-cpu host"*) echo "failed to set MSR 0x10a"; exit 134;; esac\n'
        "echo Linux version 6.12",
    )
    assert choose().cpu == "kvm64"


def test_a_kernel_that_stays_silent_means_tcg(qemu: Path) -> None:
    """/dev/kvm opens, a VM is created, and no line ever comes."""
    behave(qemu, "echo 'Probing EDD... ok'; exec sleep 60")
    chosen = choose()
    assert (chosen.name, chosen.cpu) == ("tcg", "max")
    assert chosen.patience > 1
    assert "no line of the kernel in" in chosen.reason
    assert "Probing EDD" in chosen.reason


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'KVM internal error. Suberror: 1'; exec sleep 60", "Suberror: 1"),
        ("echo 'qemu-system-x86_64: failed to set MSR 0x10a to 0x69'; exit 134", "MSR"),
        ("exit 3", "QEMU ended with 3"),
    ],
)
def test_the_reason_is_named(qemu: Path, script: str, reason: str) -> None:
    """In QEMU's own words where it has some."""
    behave(qemu, script)
    assert reason in choose().reason


def test_kvm_that_was_asked_for_never_falls_back(qemu: Path) -> None:
    """HostError says why and what else to do."""
    behave(qemu, "exit 3")
    with pytest.raises(
        HostError, match=r"no usable KVM: .*QEMU ended with 3"
    ) as caught:
        choose(Accel.KVM)
    assert "--accel tcg" in caught.value.hint


def test_tcg_that_was_asked_for_needs_no_probe(qemu: Path, cache: Path) -> None:
    """And leaves no answer behind."""
    behave(qemu, "echo Linux version 6.12")
    assert choose(Accel.TCG).reason == "asked for"
    assert not (cache / "accelerator.json").exists()


def test_the_answer_is_kept_until_qemu_or_the_boot_changes(
    qemu: Path, cache: Path
) -> None:
    """A second run does not pay for the probe again."""
    behave(qemu, "echo Linux version 6.12")
    first = choose()
    behave(qemu, "exit 3")
    assert choose() == first == host.known_accelerator()
    host.qemu_version.cache_clear()
    behave(qemu, "exit 3", version="9.9.10")
    assert choose().name == "tcg"
    kept = json.loads((cache / "accelerator.json").read_text())
    (cache / "accelerator.json").write_text(json.dumps({**kept, "key": "other boot"}))
    assert host.known_accelerator() is None


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": 1}', "\x00"])
def test_a_damaged_answer_is_no_answer(cache: Path, text: str) -> None:
    """It is probed again."""
    cache.mkdir()
    (cache / "accelerator.json").write_text(text)
    assert host.known_accelerator() is None


@pytest.mark.usefixtures("qemu")
def test_without_a_kernel_nothing_is_remembered(cache: Path) -> None:
    """TCG for now; a later run with a kernel probes."""
    deadline = patient(20, "the probe")
    assert host.choose_accelerator(Accel.AUTO, None, deadline).name == "tcg"
    assert not (cache / "accelerator.json").exists()


def test_examines_all_and_says_how_to_mend() -> None:
    """One finding each, and a remedy with each that is not ok."""
    findings = host.examine()
    names = [finding.name for finding in findings]
    assert len(set(names)) == len(names)
    wanted = {
        host.QEMU, "qemu-img", "mmdebstrap", "dnsmasq", "ip", "unshare", "nsenter",
        "mke2fs", "sfdisk", "/dev/net/tun", "namespaces", "kvm", "disk", "memory",
        "python",
    }  # fmt: skip
    assert wanted <= set(names)
    assert all(finding.detail for finding in findings)
    assert all(finding.mend for finding in findings if not finding.ok)


def test_a_missing_program_is_found_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the package that has it."""
    monkeypatch.setattr(doctor, "PROGRAMS", (("no-such-program", "some-package"),))
    found = host.examine()[0]
    assert not found.ok
    assert found.mend == "apt install some-package"
