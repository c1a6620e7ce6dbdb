"""Converts a machine, and looks at what that makes of console, files and disk."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256

from harness import CommandResult, DeadlineExpired, Machine, NotExercised, log_in, poll
from suites.onboard.checks.conversion import (
    ASIDE,
    LUSTRATE,
    NIXOS,
    CleanUp,
    Converted,
    Identity,
    Login,
    Written,
)

INFECT = "/usr/lib/reference/nixos/infect"
_LOGIN = r"login: *$"
_PROMPT = r"# *$"
_BOOT_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INFECT_S = 600.0
_PRESS_S = 3.0
# Fewer files or KiB than any old root has.
_SOME = 100


@dataclass(frozen=True)
class Terminal:
    """The serial console, used by a client that knows root's password.

    An answer may take up to `seconds`.
    """

    dev: Machine
    password: str
    seconds: float

    @classmethod
    def of(cls, dev: Machine, password: str, seconds: float) -> Terminal:
        """Let root have a password, as a seed's user-data would."""
        dev.succeed("chpasswd", stdin=f"root:{password}\n".encode())
        return cls(dev, password, seconds)

    def silence(self) -> str:
        """Press Enter, and return what was missed if no prompt to log in came."""
        mark = self.dev.console.size
        try:
            self.dev.console.send("\n")
            self._await(_LOGIN, mark)
        except DeadlineExpired as error:
            return str(error)
        return ""

    def log_in(self) -> Login:
        """Log in at a prompt, ask for the boot ID, and log out again."""
        console = self.dev.console
        mark = console.size
        try:
            console.send("root\n")
            self._await("Password: *$", mark)
            console.send(f"{self.password}\n")
            self._await(_PROMPT, mark)
            mark = console.size
            console.send("cat /proc/sys/kernel/random/boot_id\n")
            screen = self._await(f"{_BOOT_ID.pattern}[\\s\\S]*{_PROMPT}", mark)
            mark = console.size
            console.send("exit\n")
            self._await(_LOGIN, mark)
        except DeadlineExpired as error:
            return Login("", missed=str(error))
        printed = _BOOT_ID.search(screen)
        return Login(printed[0] if printed else "", screen)

    def _await(self, pattern: str, mark: int) -> str:
        deadline = self.dev.deadline(self.seconds, f"the console to say {pattern}")
        return self.dev.console.wait_for(pattern, deadline, since=mark)[0]


def convert(dev: Machine, terminal: Terminal) -> tuple[CommandResult, list[str]]:
    """Run the conversion over ssh, and press Enter on the console meanwhile.

    Returns its result, and for each Enter what was missed.
    """
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
        raise NotExercised(
            "Enter to be pressed on the console during the conversion",
            seen=f"it was pressed {len(silences)} times before its end",
        )
    return done, silences


def identity(dev: Machine) -> Identity:
    """Read a machine's ssh host keys and machine-id."""
    printed = dev.succeed(
        "sh", "-c", "cat /etc/machine-id; cut -d' ' -f2 /etc/ssh/ssh_host_*_key.pub"
    ).split()
    return Identity(tuple(map(_fingerprint, printed[1:])), printed[0])


def _fingerprint(key: str) -> str:
    digest = b64encode(sha256(b64decode(key)).digest()).decode()
    return f"SHA256:{digest.rstrip('=')}"


def written(dev: Machine) -> Written:
    """Read what the conversion wrote, and what the disk is."""
    return Written(
        hardware=dev.read_file("/etc/nixos/hardware-configuration.nix"),
        networking=dev.read_file("/etc/nixos/networking.nix"),
        devices={mount: _devices(dev, mount) for mount in ("/", "/boot")},
        disk=dev.succeed(
            "sh", "-c", "echo /dev/$(lsblk -no PKNAME $(findmnt -no SOURCE /))"
        ).strip(),
    )


def _devices(dev: Machine, mount: str) -> list[str]:
    """List the paths by which a file system's device can be named."""
    return dev.succeed(
        *("sh", "-c"),
        "device=$(findmnt -no SOURCE $0); echo $device;"
        " blkid -s UUID -o value $device | sed s,^,/dev/disk/by-uuid/,;"
        " blkid -s LABEL -o value $device | sed s,^,/dev/disk/by-label/,",
        mount,
    ).split()


def converted(dev: Machine) -> Converted:
    """Look at a machine after the first boot of the converted system."""
    exists = f"for file in {NIXOS} {LUSTRATE} {ASIDE}; do\n"
    exists += "if [ -e $file ]; then echo $file; fi; done"
    files = dev.succeed("sh", "-c", exists).split()
    return Converted(dev.system.state(), dev.system.bootloader(), files, identity(dev))


def clean_up(dev: Machine) -> CleanUp:
    """Remove the old root. Raises NotExercised where there is next to none."""
    sizes = dev.succeed("sh", "-c", "du -sk /old-root; du -s --inodes /old-root")
    words = sizes.split()
    kib, inodes = int(words[0]), int(words[2])
    if inodes < _SOME or kib < _SOME:
        raise NotExercised(
            "an old root to clean up", seen=f"it has {inodes} inodes and {kib} KiB"
        )
    before = dev.inodes.sample("/")["/"]
    dev.succeed("sh", "-c", "rm -rf /old-root && sync", timeout=300)
    return CleanUp(kib, inodes, before, dev.inodes.sample("/")["/"])
