"""What this computer can do, asked of this computer and of stand-ins for others."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from harness import host
from harness.errors import HostError
from harness.host import Accel, accelerator, programs, release
from harness.host.programs import Need
from harness.process import run
from tests.waiting import patient

ROOT = Path(__file__).parents[2]


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
    findings = host.examine(building=True)
    names = [finding.name for finding in findings]
    assert len(set(names)) == len(names)
    wanted = {
        host.QEMU, "qemu-img", "mmdebstrap", "dnsmasq", "ip", "unshare", "nsenter",
        "nft", "ping", "ssh", "newuidmap", "sfdisk", "/dev/net/tun", "namespaces",
        "kvm", "disk", "disk of machines", "memory",
        "python",
    }  # fmt: skip
    assert wanted <= set(names)
    assert all(finding.detail for finding in findings)
    assert all(finding.mend for finding in findings if not finding.ok)


SYSTEMS = {
    "debian": ("ID=debian\n", "apt install nftables"),
    "ubuntu": ('ID=ubuntu\nID_LIKE="debian"\n', "apt install nftables"),
    "derived": ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", "apt install nftables"),
    "nixos": ("ID=nixos\n", "nix-shell"),
    "fedora": ("ID=fedora\n", "install what provides nft (nftables on Debian)"),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_remedy_fits_the_system(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By os-release(5): no `apt install` where there is no apt."""
    text, wanted = SYSTEMS[name]
    file = tmp_path / "os-release"
    file.write_text(text)
    monkeypatch.setattr(release, "_RELEASE", file)
    assert wanted in host.remedy("nft", "nftables")


# Hides a program by a mount that no one else sees, then looks for what is lacking.
HIDE = """
hidden=
for place in /usr/bin /bin /usr/sbin /sbin; do
  real=$(readlink -f "$place/$0")
  [ ! -e "$real" ] || [ "$real" = "$hidden" ] || mount --bind /dev/null "$real"
  hidden=$real
done
exec "$@"
"""
LACKING = """
from harness import host
print(*(each.name for each in host.lacking(building=True)))
"""
NEEDED = [p.name for p in programs.PROGRAMS if p.need in {Need.RUN, Need.IMAGE}]


@pytest.mark.parametrize("name", NEEDED)
def test_each_program_that_is_hidden_is_found_missing(name: str) -> None:
    """One at a time, really: the others are there, and doctor is red."""
    found = programs.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    argv = ["unshare", *user, "--mount", "sh", "-euc", HIDE, name]
    deadline = patient(30, "what is lacking")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = run([*argv, sys.executable, "-c", LACKING], deadline=deadline, env=env)
    assert name in said.check().stdout.split()


HOST_ROOMS = (
    *("site", "qemu", "shell", "host", "reference", "image", "stage", "report"),
    *("testbed", "cli", "plugin", "process.py", "guest/ssh.py", "runtime.py"),
)
# What a system without them would not be one, and names that are no program here.
TAKEN_FOR_GRANTED = {
    *("sh", "cp", "ls", "rm", "mkdir", "cat", "env", "sed", "uname", "find"),
    *("init", "link", "file", "test", "true"),
}


def host_programs() -> dict[str, str]:
    """Find the programs of this computer that begin a command in the code."""
    files = [
        file
        for room in HOST_ROOMS
        for file in (
            [ROOT / "harness" / room]
            if room.endswith(".py")
            else sorted((ROOT / "harness" / room).rglob("*.py"))
        )
        if "reference/nixos" not in str(file)
    ]
    found = {}
    for file in [*files, ROOT / "suites/network/lan.py"]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.List | ast.Tuple):
                for word in first_words(node):
                    if "/" not in word and programs.which(word):
                        found[word] = f"{file.relative_to(ROOT)}:{node.lineno}"
    return found


def first_words(node: ast.List | ast.Tuple) -> list[str]:
    """Return the words that may be programs: the first, and after what starts one."""
    words = [
        each.value
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
        else ""
        for each in node.elts
    ]
    starts = [
        word
        for before, word in zip(["--", *words], words, strict=False)
        if before in {"--", "setsid", "env"}
    ]
    return [word for word in starts if len(word) > 1]  # "w" is a mode of open(), too


def test_every_program_that_the_code_runs_is_looked_for() -> None:
    """So `harness doctor` cannot be green where one is missing."""
    known = {program.name for program in programs.PROGRAMS}
    ran = host_programs()
    assert {"ip", "qemu-img", "setpriv", "mmdebstrap", "ping"} <= ran.keys()
    unknown = {k: v for k, v in ran.items() if k not in known | TAKEN_FOR_GRANTED}
    assert unknown == {}
