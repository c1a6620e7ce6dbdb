"""The system view and what it makes of `nixos-rebuild`'s words."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from harness.errors import MachineError
from harness.guest import jobs, rebuild, system
from harness.guest.jobs import JobEnd
from harness.guest.script import parse
from harness.guest.system import System

if TYPE_CHECKING:
    from tests.guest.conftest import LocalGuest

HASH = "0123456789abcdfghijklmnpqrsvwxyz"
TOP = f"/nix/store/{HASH}-nixos-system-dev-25.11"
KERNEL = f"/nix/store/{HASH}-linux-6.12.57/bzImage"

STATE = f"""\
\x1ekernel
boot_id=9b9e5f3c-1111-2222-3333-444455556666
release=6.12.57
uptime=81.52
cmdline=BOOT_IMAGE=(hd0)/k init={TOP}/init console=ttyS0 init={TOP}-2/init
modules=yes
\x1e/run/booted-system/nixos-version
25.11.20251101
\x1e/run/booted-system/kernel-params
console=ttyS0 loglevel=4
\x1e/run/current-system/nixos-version
25.11.20251102
\x1e/run/current-system/kernel-params
\x1enames
/proc/1/exe
/run/booted-system
/run/booted-system/kernel
/run/booted-system/init
/run/current-system
/run/current-system/kernel
\x1etargets
/nix/store/{HASH}-systemd-258/lib/systemd/systemd
{TOP}
{KERNEL}
{TOP}/init
{TOP}-2
{KERNEL}-2
\x1egenerations
1763900003 /nix/var/nix/profiles/system -> system-10-link
1763900002 /nix/var/nix/profiles/system-10-link -> {TOP}-2
1763900001 /nix/var/nix/profiles/system-9-link -> {TOP}
\x1eleftovers
/run/nixos/start-list
\x1eend
"""

SWITCH = f"""\
building the system configuration...
building '/nix/store/{HASH}-nixos-system-dev-26.drv'...
stopping the following units: lab.service, nix-gc.timer
NOT restarting the following changed units: bento-upgrade.service
activating the configuration...
setting up /etc...
restarting systemd...
reloading user units for root...
restarting sysinit-reactivation.target
restarting the following units: sshd.service
starting the following units: lab.service, nix-gc.timer
the following new units were started: run-x.mount
warning: the following units failed: broken.service
Done. The new configuration is {TOP}
"""


def test_a_state_is_read_whole() -> None:
    """Links, generations and the kernel's parameters each go to their field."""
    state = system.parse_state(parse("system.sh", STATE))
    assert state.booted is not None
    assert state.current is not None
    assert state.booted.path == TOP
    assert state.booted.kernel == KERNEL
    assert state.booted.params == "console=ttyS0 loglevel=4"
    assert state.current.init is None
    assert state.profile is None
    assert state.profile_number == 10
    assert [one.number for one in state.generations] == [9, 10]
    assert state.generations[1].path == f"{TOP}-2"
    assert state.init == f"{TOP}-2/init"
    assert state.reboot_pending
    assert state.modules_present
    assert state.pid1_exe == f"/nix/store/{HASH}-systemd-258/lib/systemd/systemd"
    assert state.leftovers == ("/run/nixos/start-list",)


def test_names_and_targets_must_match() -> None:
    """A link that resolved to nothing would shift all others: that is an error."""
    with pytest.raises(MachineError, match="zip"):
        system.parse_state(parse("system.sh", STATE.replace(f"\n{KERNEL}-2\n", "\n")))


def test_this_computer_answers(guest: LocalGuest) -> None:
    """The script runs for real: the kernel's facts are this kernel's."""
    state = System(guest).state()
    facts = Path("/proc/sys/kernel")
    assert state.boot_id == (facts / "random/boot_id").read_text().strip()
    assert state.kernel_release == (facts / "osrelease").read_text().strip()
    assert state.cmdline == Path("/proc/cmdline").read_text().strip()
    assert state.uptime > 0
    assert System(guest).memory_mib() == psutil.virtual_memory().total // 2**20


def test_an_option_of_the_configuration(guest: LocalGuest) -> None:
    """It is what Nix makes of it; what Nix cannot evaluate is no answer."""
    guest.program("nix-instantiate", 'printf "[\\"%s\\"]" "$5"')
    assert System(guest).option("networking.hostName") == ["config.networking.hostName"]
    guest.program("nix-instantiate", "echo 'error: attribute missing' >&2; exit 1")
    with pytest.raises(MachineError, match="attribute missing"):
        System(guest).option("x")


def test_failed_units() -> None:
    """The unit is the first word of each line."""
    text = "lab.service loaded failed failed Lab\nx.mount  loaded failed failed X\n"
    assert system.parse_failed(text) == ("lab.service", "x.mount")
    assert system.parse_failed("\n") == ()


def test_a_switch_is_read_by_its_sentences() -> None:
    """Units are sorted by what was done to them."""
    read = rebuild.parse(("nixos-rebuild", "switch"), JobEnd(4, SWITCH, 10.0, 52.5))
    assert read.stopped == ("lab.service", "nix-gc.timer")
    assert read.started == ("lab.service", "nix-gc.timer")
    assert read.restarted == ("sshd.service",)
    assert read.not_restarted == ("bento-upgrade.service",)
    assert read.new == ("run-x.mount",)
    assert read.failed == ("broken.service",)
    assert read.reexecuted
    assert read.system == TOP
    assert read.duration_s == 42.5
    assert not read.succeeded
    assert "lab.service" in read.touched
    assert "bento-upgrade.service" not in read.touched


def test_a_dry_activation_does_nothing() -> None:
    """What a dry run would do is not what was done."""
    text = "would stop the following units: a.service\nwould restart systemd\n"
    read = rebuild.parse((), JobEnd(0, text, 0, 1))
    assert not read.touched
    assert not read.reexecuted
    assert read.system is None


def test_a_rebuild_gets_its_module_and_verb(
    guest: LocalGuest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module reaches the file verbatim, and `nixos-rebuild` is pointed there."""
    monkeypatch.setattr(jobs, "DIRECTORY", str(tmp_path))
    guest.program("nixos-rebuild", 'echo "told: $*"; cat "${3#nixos-config=}"; exit 1')
    module = "{ pkgs, ... }: {\n  x = \"$HOME ${pkgs.hello} 'q'\";\n}"
    file = tmp_path / "acceptance" / "1.nix"
    started = rebuild.start(
        guest, "switch", module=module, rollback=False, file=str(file)
    )
    done = started.wait(20)
    assert done.rc == 1
    told, _, text = done.output.partition("\n")
    assert told == f"told: switch -I nixos-config={file}"
    assert text == file.read_text() == rebuild.configuration(module) + "\n"
    assert "${pkgs.hello} 'q'" in text
    assert "/etc/nixos/configuration.nix" in text


def test_a_rollback_names_no_configuration(
    guest: LocalGuest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollback has no argument but its verb."""
    monkeypatch.setattr(jobs, "DIRECTORY", str(tmp_path))
    guest.program("nixos-rebuild", 'echo "told: $*"')
    started = rebuild.start(guest, "switch", module=None, rollback=True, file="/x")
    assert started.wait(20).output == "told: switch --rollback\n"
    assert shlex.join(started.argv) == "nixos-rebuild switch --rollback"


def test_a_rebuild_that_was_waited_for_is_announced(
    guest: LocalGuest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is over, and also when it failed."""
    monkeypatch.setattr(jobs, "DIRECTORY", str(tmp_path))
    guest.program("nixos-rebuild", f"touch {tmp_path}/rebuilt; exit 1")
    seen: list[bool] = []
    view = System(guest, lambda: seen.append((tmp_path / "rebuilt").exists()))
    view.start_rebuild("switch", rollback=True).wait(20)
    assert seen == []
    assert view.rebuild("switch", rollback=True, timeout=20).rc == 1
    assert seen == [True]
