"""From a plan to QEMU's command line: pure, so that every line can be tested.

The guest boots as the real one does: SeaBIOS, its own disk, its own boot loader. The
few fields that would break this (`kernel`, `shares` …) exist for faults alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import InputError, Mistake
from harness.host import QEMU

if TYPE_CHECKING:
    from pathlib import Path

# `sun_path` has 108 bytes, the last one for NUL.
_SOCKET_PATH_MAX = 107

# What QEMU may not do once it runs: no set-uid, no child, no new priorities.
_SANDBOX = "on," + ",".join(
    f"{call}=deny"
    for call in ("obsolete", "elevateprivileges", "spawn", "resourcecontrol")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ram:
    """Guest memory in a file.

    A `shared` mapping writes it: the template of later machines. A private one starts
    from what is in it and leaves it as it is.
    """

    path: Path
    shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The system disk, always a qcow2 file.

    `honest_flushes` passes the guest's flushes on to the host's disk; without, they
    only reach the host's page cache: faster, and still there when QEMU is killed.
    `write_log` records every write and flush (driver blklogwrites), so that the disk
    can be rebuilt as it was when the power went.
    """

    path: Path
    serial: str
    honest_flushes: bool = False
    write_log: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A virtiofs share, served by a virtiofsd on `socket`. Only faults have one."""

    tag: str
    socket: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePlan:
    """Everything that decides QEMU's command line.

    `directory` (0700) gets the sockets and logs; `mem` is in MiB, `tb_size` (QEMU's
    cache of translated code, TCG only) too. `tap` None leaves the machine without a
    NIC. `incoming` starts it paused, to be filled from a saved state.
    """

    name: str
    directory: Path
    mem: int
    vcpu: int
    mac: str
    accelerator: str
    cpu: str
    disk: Disk | None = None
    seed: Path | None = None
    tap: str | None = None
    ram: Ram | None = None
    incoming: bool = False
    paused: bool = False
    machine_type: str = "q35"
    tb_size: int = 256
    kernel: Path | None = None
    initrd: Path | None = None
    append: str | None = None
    shares: tuple[Share, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def console_socket(self) -> Path:
        """Where the serial console can be typed into."""
        return self.directory / "console.sock"

    @property
    def console_log(self) -> Path:
        """What the serial console printed, from its first byte."""
        return self.directory / "console.log"

    @property
    def agent_socket(self) -> Path:
        """Where the guest agent answers."""
        return self.directory / "agent.sock"

    @property
    def monitor_socket(self) -> Path:
        """Where a person gets QEMU's human monitor."""
        return self.directory / "monitor.sock"


def build(plan: MachinePlan, *, qmp_fd: int) -> list[str]:
    """Return QEMU's argv; its QMP monitor speaks on the inherited `qmp_fd`.

    Raises InputError when the plan cannot be put into a command line.
    """
    _check(plan)
    return [
        QEMU,
        *_basics(plan),
        *_processor_and_memory(plan),
        *_channels(plan, qmp_fd),
        *_drives(plan),
        *_nic(plan),
        *_shares(plan),
        *_direct_boot(plan),
        *plan.extra,
    ]


def option(head: str, **values: str | int | Path | bool) -> str:
    """Write one comma-separated option value: `head,key=value,…`.

    Keys take `_` for `-` and `__` for `.`; booleans become on/off; a comma inside a
    value is doubled, which is how QEMU wants it.
    """
    parts = [head] if head else []
    for key, value in values.items():
        name = key.replace("__", ".").replace("_", "-")
        parts.append(f"{name}={_escaped(value)}")
    return ",".join(parts)


def _escaped(value: str | int | Path | bool) -> str:  # noqa: FBT001 - a value, not a flag
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value).replace(",", ",,")


def _check(plan: MachinePlan) -> None:
    """Refuse what no command line can carry, all of it at once."""
    mistakes = [
        Mistake("machine", "directory", str(path), "a socket path of at most 107 bytes")
        for path in (plan.console_socket, plan.agent_socket, plan.monitor_socket)
        if len(str(path).encode()) > _SOCKET_PATH_MAX
    ]
    texts = {"name": plan.name, "mac": plan.mac, "tap": plan.tap or "", "cpu": plan.cpu}
    mistakes += [
        Mistake("machine", key, repr(text), "text without NUL or line breaks")
        for key, text in texts.items()
        if any(c in text for c in "\0\r\n")
    ]
    if plan.kernel is None and (plan.initrd or plan.append):
        mistakes.append(Mistake("machine", "kernel", "", "needed by initrd and append"))
    if mistakes:
        raise InputError(f"no command line for machine {plan.name!r}", mistakes)


def _basics(plan: MachinePlan) -> list[str]:
    # fmt: off
    return [
        "-nodefaults", "-no-user-config",
        "-name", option("", guest=plan.name, debug_threads=True),
        "-sandbox", _SANDBOX,
        "-display", "none", "-vga", "none",
        # A reset stays a reset (a machine that ends on reboot would hide a failed
        # one); a panic ends QEMU, because that ends every wait on the guest at once.
        "-action", "reboot=reset,shutdown=poweroff,panic=shutdown",
        "-boot", "strict=on",
        # The guest's idea of time is set after a restore; the RTC follows the host.
        "-rtc", "base=utc,clock=host",
        "-device", "pvpanic",
        *(["-incoming", "defer"] if plan.incoming else []),
        *(["-S"] if plan.incoming or plan.paused else []),
    ]
    # fmt: on


def _processor_and_memory(plan: MachinePlan) -> list[str]:
    accel = option(plan.accelerator)
    if plan.accelerator == "tcg":
        accel = option("tcg", thread="multi", tb_size=plan.tb_size)
    size = f"{plan.mem}M"
    if plan.ram is None:
        memory = option("memory-backend-ram", id="ram", size=size)
    else:
        memory = option(
            "memory-backend-file",
            id="ram",
            size=size,
            mem_path=plan.ram.path,
            share=plan.ram.shared,
        )
    # fmt: off
    return [
        "-machine", option(plan.machine_type, memory_backend="ram", hpet=False),
        "-accel", accel,
        "-cpu", plan.cpu,
        "-smp", option("", cpus=plan.vcpu, sockets=1, cores=plan.vcpu, threads=1),
        "-m", option("", size=size),
        "-object", memory,
        "-object", option("rng-random", id="entropy", filename="/dev/urandom"),
        "-device", option("virtio-rng-pci", rng="entropy"),
    ]
    # fmt: on


def _channels(plan: MachinePlan, qmp_fd: int) -> list[str]:
    """Wire QMP, console, guest agent and the human monitor; none of them is TCP."""
    listening = {"server": True, "wait": False}
    console = option(
        "socket",
        id="console",
        path=plan.console_socket,
        **listening,
        logfile=plan.console_log,
        logappend=True,
    )
    agent = option("socket", id="agent", path=plan.agent_socket, **listening)
    monitor = option("socket", id="monitor", path=plan.monitor_socket, **listening)
    # fmt: off
    return [
        "-chardev", option("socket", id="qmp", fd=qmp_fd),
        "-mon", "chardev=qmp,mode=control",
        "-chardev", monitor,
        "-mon", "chardev=monitor,mode=readline",
        "-chardev", console,
        "-serial", "chardev:console",
        "-device", "virtio-serial-pci,id=channels",
        "-chardev", agent,
        "-device", option(
            "virtserialport", bus="channels.0", chardev="agent", nr=1,
            name="org.qemu.guest_agent.0",
        ),
    ]
    # fmt: on


def _drives(plan: MachinePlan) -> list[str]:
    argv: list[str] = []
    if plan.disk is not None:
        argv += _system_disk(plan.disk)
    if plan.seed is not None:
        seed = option(
            "", driver="raw", node_name="seed", read_only=True,
            file__driver="file", file__filename=plan.seed,
        )  # fmt: skip
        argv += ["-blockdev", seed, "-device", "virtio-blk-pci,drive=seed,serial=seed"]
    return argv


def _system_disk(disk: Disk) -> list[str]:
    """Stack the disk's layers: file, qcow2, and maybe a log of all writes.

    `no-flush` must stand on the lowest layer: that is the one that would `fsync`.
    """
    lazy = not disk.honest_flushes
    layers = [
        option(
            "", driver="file", node_name="disk-file", filename=disk.path,
            discard="unmap", cache__no_flush=lazy,
        ),
        option(
            "", driver="qcow2", node_name="disk", file="disk-file", discard="unmap",
            cache__no_flush=lazy,
        ),
    ]  # fmt: skip
    drive = "disk"
    if disk.write_log is not None:
        drive = "disk-logged"
        layers += [
            option(
                "", driver="file", node_name="disk-log", filename=disk.write_log,
            ),
            option(
                "", driver="blklogwrites", node_name=drive, file="disk", log="disk-log",
                discard="unmap",
            ),
        ]  # fmt: skip
    device = option("virtio-blk-pci", drive=drive, serial=disk.serial, bootindex=0)
    argv = [part for layer in layers for part in ("-blockdev", layer)]
    return [*argv, "-device", device]


def _nic(plan: MachinePlan) -> list[str]:
    """One NIC on a tap that exists already; QEMU runs no scripts.

    `romfile=` drops the network boot ROM: it costs time and would be one more way to
    boot.
    """
    if plan.tap is None:
        return ["-nic", "none"]
    netdev = option(
        "tap", id="lan", ifname=plan.tap, script="no", downscript="no", vhost=False
    )
    device = option("virtio-net-pci", id="nic", netdev="lan", mac=plan.mac, romfile="")
    return ["-netdev", netdev, "-device", device]


def _shares(plan: MachinePlan) -> list[str]:
    argv = []
    for number, share in enumerate(plan.shares):
        name = f"share{number}"
        argv += ["-chardev", option("socket", id=name, path=share.socket)]
        device = option("vhost-user-fs-pci", chardev=name, tag=share.tag)
        argv += ["-device", device]
    return argv


def _direct_boot(plan: MachinePlan) -> list[str]:
    """Bypass the guest's boot loader: as a microvm does."""
    argv = []
    if plan.kernel is not None:
        argv += ["-kernel", str(plan.kernel)]
    if plan.initrd is not None:
        argv += ["-initrd", str(plan.initrd)]
    if plan.append is not None:
        argv += ["-append", plan.append]
    return argv
