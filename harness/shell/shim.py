"""Runs in the place of QEMU when a unit starts it; standard library alone.

    shim.py FACTS QEMU ARGUMENT…

FACTS is a JSON file: where to note the given command line, where the real QEMU is, and
which share of a computer a throwaway machine gets. Everything else that is asked of
QEMU stays as it is; the harness's own channels are added. The note also has the files
of the state directory, as the steps before QEMU left them.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

AGENT = "org.qemu.guest_agent.0"
# A throwaway machine has its own size, accelerator and serial console.
_OURS = frozenset({"-enable-kvm", "-accel", "-m", "-smp", "-serial"})
# Options without a value, among those that a machine is started with.
_FLAGS = frozenset(
    [
        "-enable-kvm",
        "-nographic",
        "-no-reboot",
        "-no-shutdown",
        "-nodefaults",
        "-no-user-config",
        "-S",
        "-daemonize",
        "-no-hpet",
        "-no-acpi",
        "-snapshot",
    ]
)


def main() -> None:
    """Note what was asked for, and become QEMU."""
    facts_file, qemu, *given = sys.argv[1:]
    facts = json.loads(Path(facts_file).read_text(encoding="utf-8"))
    record = {"argv": given, "files": files(Path(facts["state"]))}
    draft = Path(facts["record"] + ".new")
    draft.write_text(json.dumps(record), encoding="utf-8")
    draft.rename(facts["record"])
    # This program is mounted over QEMU's own path.
    real = facts["real"] + os.path.realpath(qemu)
    os.execv(real, [qemu, *adapt(given, facts)])  # noqa: S606 - that is its purpose


def files(directory: Path) -> dict[str, list[int]]:
    """Return the files in a directory, each with its inode, size and time."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            status = path.stat()
            name = str(path.relative_to(directory))
            found[name] = [status.st_ino, status.st_size, status.st_mtime_ns]
    return found


def pairs(given: list[str]) -> list[tuple[str, str | None]]:
    """Split a command line into options and their values."""
    found: list[tuple[str, str | None]] = []
    rest = list(given)
    while rest:
        option = rest.pop(0)
        if option.startswith("--"):
            option = option[1:]
        alone = option in _FLAGS or not option.startswith("-") or not rest
        found.append((option, None if alone else rest.pop(0)))
    return found


def adapt(given: list[str], facts: dict[str, Any]) -> list[str]:
    """Scale a command line down to a throwaway machine, and add our channels."""
    if "-daemonize" in given:
        sys.exit("a unit's QEMU has to stay in the foreground: without -daemonize")
    agent = _agent_chardev(given)
    argv: list[str] = []
    for option, value in pairs(given):
        text = _kept(option, value, facts)
        if option == "-chardev" and agent and f"id={agent}" in (value or ""):
            text = _channel(agent, facts["agent"])
        if option not in _OURS:
            argv += [option] if text is None else [option, text]
    argv += ["-accel", facts["accelerator"], "-m", str(facts["mem"])]
    argv += ["-smp", str(facts["vcpu"])]
    return argv + _channels(facts, has_agent=agent is not None)


def _kept(option: str, value: str | None, facts: dict[str, Any]) -> str | None:
    """Return the value of an option as this computer can have it."""
    if option == "-cpu":
        return str(facts["cpu"])
    if option in ("-machine", "-M") and value is not None:
        return re.sub(r",?accel=[^,]*", "", value).lstrip(",")
    return value


def _agent_chardev(given: list[str]) -> str | None:
    """Find the character device that the unit's own guest agent port is on."""
    for option, value in pairs(given):
        if option == "-device" and value and f"name={AGENT}" in value:
            found = re.search(r"chardev=([^,]+)", value)
            return found[1] if found else None
    return None


def _channels(facts: dict[str, Any], *, has_agent: bool) -> list[str]:
    console = _channel("harness-console", facts["console"])
    argv = ["-chardev", f"{console},logfile={facts['log']},logappend=on"]
    argv += ["-serial", "chardev:harness-console"]
    for name, mode in (("qmp", "control"), ("monitor", "readline")):
        argv += ["-chardev", _channel(f"harness-{name}", facts[name])]
        argv += ["-mon", f"chardev=harness-{name},mode={mode}"]
    if not has_agent:
        argv += ["-chardev", _channel("harness-agent", facts["agent"])]
        argv += ["-device", "virtio-serial-pci,id=harness-channels"]
        port = (
            f"virtserialport,bus=harness-channels.0,chardev=harness-agent,name={AGENT}"
        )
        argv += ["-device", port]
    return argv


def _channel(name: str, path: str) -> str:
    return f"socket,id={name},path={path},server=on,wait=off"


if __name__ == "__main__":
    main()
