"""The conversion as a person sees it: a console that answers, files that are right."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import DeadlineExpired, NotExercised, log_in, poll

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness import Budgets, CommandResult, Machine, NetworkSpec, Recorder

INFECT = "/usr/lib/reference/nixos/infect"
_LOGIN = r"login: *$"
_PROMPT = r"# *$"
_BOOT_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INFECT_S = 600.0
_PRESS_S = 3.0
# nixos-infect writes this on a net without IPv6, and NixOS does not boot with it.
_EMPTY_GATEWAY = re.compile(r'defaultGateway6\s*=\s*(?:""|\{[^}]*address\s*=\s*"")')


@dataclass(frozen=True)
class Terminal:
    """The serial console, and somebody at it who knows root's password."""

    dev: Machine
    check: Recorder
    budgets: Budgets
    password: str

    @classmethod
    def of(
        cls, dev: Machine, check: Recorder, budgets: Budgets, password: str
    ) -> Terminal:
        """Let root have a password, as a seed's user-data would."""
        dev.succeed("chpasswd", stdin=f"root:{password}\n".encode())
        return cls(dev, check, budgets, password)

    def silence(self) -> str:
        """Press Enter, and return what was missed if no prompt to log in came."""
        mark = self.dev.console.size
        try:
            self.dev.console.send("\n")
            self._await(_LOGIN, mark)
        except DeadlineExpired as error:
            return str(error)
        return ""

    def judge_prompt(self, when: str, silences: Sequence[str]) -> bool:
        """Hold the console to having answered each time."""
        missed = [silence for silence in silences if silence]
        return self.check.check(
            "the console answers",
            not missed,
            f"{when}: {len(missed)} of {len(silences)} times it did not: {missed[:1]}",
        )

    def judge_login(self, when: str) -> None:
        """Log in and out again, and see that the shell is this boot's."""
        console = self.dev.console
        if not self.judge_prompt(when, [self.silence()]):
            return
        mark = console.size
        try:
            console.send("root\n")
            self._await("Password: *$", mark)
            console.send(f"{self.password}\n")
            self._await(_PROMPT, mark)
            mark = console.size
            console.send("cat /proc/sys/kernel/random/boot_id\n")
            said = self._await(f"{_BOOT_ID.pattern}[\\s\\S]*{_PROMPT}", mark)
            mark = console.size
            console.send("exit\n")
            self._await(_LOGIN, mark)
        except DeadlineExpired as error:
            self._judge("a person can log in on the console", when, seen=str(error))
            return
        told = _BOOT_ID.search(said)
        self._judge(
            "a person can log in on the console",
            when,
            ok=told is not None and told[0] == self.dev.boot_id,
            seen=said,
        )

    def _await(self, pattern: str, mark: int) -> str:
        deadline = self.dev.deadline(
            self.budgets.console_answer_s, f"the console to say {pattern}"
        )
        return self.dev.console.wait_for(pattern, deadline, since=mark)[0]

    def _judge(self, name: str, when: str, *, ok: bool = False, seen: str = "") -> bool:
        return self.check.check(name, ok, f"{when}: {seen}")


def convert(dev: Machine, terminal: Terminal) -> CommandResult:
    """Run the conversion over ssh, and press Enter on the console meanwhile."""
    silences: list[str] = []
    with log_in(dev) as ssh, ThreadPoolExecutor(1) as pool:
        deadline = dev.deadline(_INFECT_S, "the conversion")
        running = pool.submit(ssh.execute, [INFECT], deadline=deadline)

        def press() -> bool | None:
            if running.done():
                return True
            silences.append(terminal.silence())
            return None

        poll(press, deadline, interval=_PRESS_S)
        done = running.result()
    # The last answer may have come after the end.
    if not silences[:-1]:
        raise NotExercised("somebody pressed Enter during the conversion")
    terminal.judge_prompt("during the conversion", silences)
    return done


@dataclass(frozen=True)
class Identity:
    """What makes a machine the same one: to ssh, to systemd, to who encrypts for it."""

    host_keys: tuple[str, ...]
    machine_id: str

    @classmethod
    def of(cls, dev: Machine) -> Identity:
        """Ask a machine who it is."""
        said = dev.succeed(
            "sh", "-c", "cat /etc/machine-id; cut -d' ' -f2 /etc/ssh/ssh_host_*_key.pub"
        ).split()
        return cls(tuple(said[1:]), said[0])


def judge_files(dev: Machine, check: Recorder, network: NetworkSpec) -> None:
    """Hold what the conversion wrote to what disk and network really are."""
    files = {
        name: dev.read_file(f"/etc/nixos/{name}.nix")
        for name in ("hardware-configuration", "networking", "configuration")
    }
    hardware, net = files["hardware-configuration"], files["networking"]
    for mount in ("/", "/boot"):
        names = dev.succeed(
            *("sh", "-c"),
            "device=$(findmnt -no SOURCE $0); blkid -s UUID -o value $device; "
            "blkid -s LABEL -o value $device; echo $device",
            mount,
        ).split()
        found = re.search(
            rf'fileSystems\."{mount}" = {{[^}}]*device = "([^"]+)"', hardware
        )
        # Nobody would reboot into a system that cannot find its disk.
        check.require(
            "hardware-configuration.nix names the disk's file systems",
            found is not None
            and found[1].rpartition("/")[2] in {*names, names[-1][5:]},
            f"{mount} is {found and found[1]}, blkid knows {names}",
        )
    disk = dev.succeed(
        "sh", "-c", "echo /dev/$(lsblk -no PKNAME $(findmnt -no SOURCE /))"
    ).strip()
    check.check(
        "the boot loader goes to the disk that boots",
        f'device = "{disk}"' in hardware,
        f"the disk is {disk}: {hardware}",
    )
    wanted = (str(dev.vm.ip), str(network.gateway), dev.vm.mac)
    check.check(
        "networking.nix has the machine's static address",
        all(f'"{word}"' in net for word in wanted) and "useDHCP = true" not in net,
        f"wanted {wanted}: {net}",
    )
    check.check(
        "no empty IPv6 gateway is configured", not _EMPTY_GATEWAY.search(net), net
    )


def judge_converted(dev: Machine, check: Recorder, identity: Identity) -> None:
    """Hold a machine to being a NixOS, booted by its own loader, and still itself."""
    state, menu = dev.system.state(), dev.system.bootloader()
    check.check(
        "the system profile is what booted",
        state.booted is not None
        and state.profile is not None
        and state.booted.path == state.profile.path,
        f"booted {state.booted}, profile {state.profile}",
    )
    check.check(
        "the boot loader has the new system",
        state.profile is not None
        and menu.default is not None
        and menu.default.system == state.profile.path
        and menu.default.complete,
        f"default entry {menu.default}",
    )
    check.check(
        "it is a NixOS",
        dev.execute("test", "-e", "/etc/NIXOS").succeeded,
        "there is no /etc/NIXOS",
    )
    marked = dev.execute("test", "-e", "/etc/NIXOS_LUSTRATE").succeeded
    aside = dev.execute("test", "-e", "/old-root/etc/passwd").succeeded
    check.check(
        "the old system was put aside",
        aside and not marked,
        f"/old-root/etc/passwd {'is' if aside else 'is not'} there, the mark "
        f"{'still is' if marked else 'is gone'}",
    )
    now = Identity.of(dev)
    check.check(
        "the machine keeps its host keys", now.host_keys == identity.host_keys, f"{now}"
    )
    check.check(
        "the machine keeps its machine-id",
        now.machine_id == identity.machine_id,
        f"{now}",
    )


def judge_clean_up(dev: Machine, check: Recorder, budgets: Budgets) -> None:
    """Remove the old root, and hold the disk to having got all of it back."""
    said = dev.succeed("sh", "-c", "du -sk /old-root; du -s --inodes /old-root").split()
    kib, inodes = int(said[0]), int(said[2])
    if inodes < _SOME or kib < _SOME:
        raise NotExercised("there was an old root to clean up", seen=str(said))
    before = dev.inodes.sample("/")["/"]
    dev.succeed("sh", "-c", "rm -rf /old-root && sync", timeout=300)
    after = dev.inodes.sample("/")["/"]
    check.check(
        "the clean-up gives the inodes back",
        before.used - after.used >= inodes * budgets.cleanup_share,
        f"{before.used} used before, {after.used} after; /old-root had {inodes}",
    )
    freed = (after.free_bytes - before.free_bytes) // 1024
    check.check(
        "the clean-up gives the bytes back",
        freed >= kib * budgets.cleanup_share,
        f"{freed} KiB freed; /old-root had {kib}",
    )


_SOME = 100
