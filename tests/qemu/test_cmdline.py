"""The command line: golden lines, and values that stay inside their option."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.qemu import Disk, MachinePlan, Ram, Share
from harness.qemu.cmdline import build, option
from tests.fleet.strategies import fleets

if TYPE_CHECKING:
    from harness.fleet import Fleet

RUN = Path("/run/vm/dev")
PLAN = MachinePlan(
    name="dev",
    directory=RUN,
    mem=1024,
    vcpu=2,
    mac="52:54:00:97:00:16",
    accelerator="tcg",
    cpu="max",
    disk=Disk(path=RUN / "disk.qcow2", serial="dev"),
    seed=RUN / "seed.iso",
    tap="tap-dev",
)

GOLDEN = """\
qemu-system-x86_64
-nodefaults
-no-user-config
-name guest=dev,debug-threads=on
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-display none
-vga none
-action reboot=reset,shutdown=poweroff,panic=shutdown
-boot strict=on
-rtc base=utc,clock=host
-device pvpanic
-machine q35,memory-backend=ram,hpet=off
-accel tcg,thread=multi,tb-size=256
-cpu max
-smp cpus=2,sockets=1,cores=2,threads=1
-m size=1024M
-object memory-backend-ram,id=ram,size=1024M
-object rng-random,id=entropy,filename=/dev/urandom
-device virtio-rng-pci,rng=entropy
-chardev socket,id=qmp,fd=7
-mon chardev=qmp,mode=control
-chardev socket,id=monitor,path=/run/vm/dev/monitor.sock,server=on,wait=off
-mon chardev=monitor,mode=readline
-chardev socket,id=console,path=/run/vm/dev/console.sock,server=on,wait=off,\
logfile=/run/vm/dev/console.log,logappend=on
-serial chardev:console
-device virtio-serial-pci,id=channels
-chardev socket,id=agent,path=/run/vm/dev/agent.sock,server=on,wait=off
-device virtserialport,bus=channels.0,chardev=agent,nr=1,name=org.qemu.guest_agent.0
-blockdev driver=file,node-name=disk-file,filename=/run/vm/dev/disk.qcow2,\
discard=unmap,cache.no-flush=on
-blockdev driver=qcow2,node-name=disk,file=disk-file,discard=unmap,cache.no-flush=on
-device virtio-blk-pci,drive=disk,serial=dev,bootindex=0
-blockdev driver=raw,node-name=seed,read-only=on,file.driver=file,\
file.filename=/run/vm/dev/seed.iso
-device virtio-blk-pci,drive=seed,serial=seed
-netdev tap,id=lan,ifname=tap-dev,script=no,downscript=no,vhost=off
-device virtio-net-pci,id=nic,netdev=lan,mac=52:54:00:97:00:16,romfile=
"""


def lines(plan: MachinePlan) -> list[str]:
    """Join options with their values, one per line."""
    text = ""
    for word in build(plan, qmp_fd=7):
        text += f"\n{word}" if word.startswith("-") else f" {word}"
    return text.strip().splitlines()


def added(plan: MachinePlan) -> list[str]:
    """Return the lines that a plan has beyond the golden ones."""
    return [line for line in lines(plan) if line not in GOLDEN.splitlines()]


def test_a_cold_boot_is_this_command_line() -> None:
    """Firmware, disk boot loader, unix sockets, one NIC, and no more."""
    assert lines(PLAN) == GOLDEN.splitlines()


@pytest.mark.parametrize("word", ["-kernel", "-initrd", "-append", "-no-reboot"])
def test_nothing_bypasses_the_guests_boot_loader(word: str) -> None:
    """The criterion `reboot-boots-guest-kernel` rests on this."""
    assert word not in build(PLAN, qmp_fd=7)


def test_a_template_is_shared_and_its_copies_are_private() -> None:
    """The one difference between them, apart from waiting for a state."""
    ram = Path("/cache/ram")
    template = replace(PLAN, ram=Ram(path=ram, shared=True))
    copy = replace(PLAN, ram=Ram(path=ram, shared=False), incoming=True)
    common = "-object memory-backend-file,id=ram,size=1024M,mem-path=/cache/ram,share="
    assert added(template) == [common + "on"]
    assert added(copy) == ["-incoming defer", "-S", common + "off"]


def test_honest_flushes_reach_the_file() -> None:
    """Both layers of the disk pass them on."""
    disk = Disk(path=RUN / "disk.qcow2", serial="dev", honest_flushes=True)
    for line in added(replace(PLAN, disk=disk)):
        assert line.endswith("cache.no-flush=off")


def test_a_write_log_sits_between_device_and_disk() -> None:
    """The device writes to the logger, the logger to the same disk."""
    disk = Disk(path=RUN / "disk.qcow2", serial="dev", write_log=RUN / "writes")
    assert added(replace(PLAN, disk=disk)) == [
        "-blockdev driver=file,node-name=disk-log,filename=/run/vm/dev/writes",
        (
            "-blockdev driver=blklogwrites,node-name=disk-logged,file=disk,"
            "log=disk-log,discard=unmap"
        ),
        "-device virtio-blk-pci,drive=disk-logged,serial=dev,bootindex=0",
    ]


def test_the_old_world_can_be_planned() -> None:
    """Direct kernel boot and shares are there, for faults to use."""
    plan = replace(
        PLAN,
        kernel=Path("/k"),
        initrd=Path("/i"),
        append="init=/x,y console=ttyS0",
        shares=(Share(tag="store", socket=Path("/run/fs.sock")),),
        extra=("-device", "virtio-balloon-pci"),
    )
    assert added(plan) == [
        "-chardev socket,id=share0,path=/run/fs.sock",
        "-device vhost-user-fs-pci,chardev=share0,tag=store",
        "-kernel /k",
        "-initrd /i",
        "-append init=/x,y console=ttyS0",
        "-device virtio-balloon-pci",
    ]


def test_a_machine_without_a_site_has_no_nic() -> None:
    """Not even QEMU's default."""
    assert added(replace(PLAN, tap=None)) == ["-nic none"]


def test_what_no_command_line_can_carry_is_refused_at_once() -> None:
    """All mistakes stand in one message."""
    deep = Path("/run") / ("x" * 100)
    plan = replace(PLAN, directory=deep, name="a\nb", tap="t\0", append="quiet")
    with pytest.raises(InputError) as caught:
        build(plan, qmp_fd=7)
    keys = [mistake.key for mistake in caught.value.mistakes]
    assert keys == ["directory", "directory", "directory", "name", "tap", "kernel"]


# Escaping ---------------------------------------------------------------------------


def parsed(text: str) -> dict[str, str]:
    """Read an option's value as QEMU does: `,,` is a comma, `,` ends a value."""
    parts, rest = [""], text
    while rest:
        if rest.startswith(",,"):
            parts[-1] += ","
            rest = rest[2:]
        elif rest.startswith(","):
            parts.append("")
            rest = rest[1:]
        else:
            parts[-1] += rest[0]
            rest = rest[1:]
    return dict(part.partition("=")[::2] for part in parts)


nasty = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=12)
values = st.one_of(nasty, st.sampled_from([",", ",,", "a,share=on", "=", "x,=,"]))


@given(values, values)
def test_a_value_reads_back_as_it_was(first: str, second: str) -> None:
    """With any content."""
    assert parsed(option("driver", one=first, t_w__o=second)) == {
        "driver": "",
        "one": first,
        "t-w.o": second,
    }


def shape(argv: list[str]) -> list[Any]:
    """Return the command line without its values: options and their keys."""
    return [
        list(parsed(word)) if "=" in word else word.partition(",")[0] for word in argv
    ]


TEXTS = ["disk", "seed", "ram", "name", "mac", "tap"]


@given(st.fixed_dictionaries(dict.fromkeys(TEXTS, values)))
def test_no_path_or_name_breaks_out_of_its_option(texts: dict[str, str]) -> None:
    """The options and keys are the same for all values."""

    def made(of: dict[str, str]) -> MachinePlan:
        return replace(
            PLAN,
            name=of["name"],
            mac=of["mac"],
            tap=of["tap"],
            seed=Path("/" + of["seed"]),
            ram=Ram(path=Path("/" + of["ram"]), shared=True),
            disk=Disk(path=Path("/" + of["disk"]), serial=of["name"]),
        )

    plain = made(dict.fromkeys(TEXTS, "x"))
    assert shape(build(made(texts), qmp_fd=7)) == shape(build(plain, qmp_fd=7))


@settings(max_examples=25)  # a spec takes 60 ms to draw
@given(fleets())
def test_no_valid_spec_breaks_out_of_an_option(fleet: Fleet) -> None:
    """Any VM of any valid spec has the command line of every other."""
    for vm in fleet.vms.values():
        plan = replace(
            PLAN,
            name=vm.name,
            mem=vm.mem,
            vcpu=vm.vcpu,
            mac=vm.mac,
            tap=vm.tap,
            disk=Disk(path=RUN / f"{vm.name}.qcow2", serial=vm.name),
        )
        argv = build(plan, qmp_fd=7)
        assert shape(argv) == shape(build(PLAN, qmp_fd=7))
        assert f"guest={vm.name},debug-threads=on" in argv


def test_every_field_of_a_plan_is_looked_at() -> None:
    """A field that changes nothing would be a lie; each one changes the argv."""
    other: dict[str, Any] = {
        "name": "x", "directory": Path("/run/x"), "mem": 5, "vcpu": 5, "mac": "m",
        "accelerator": "kvm", "cpu": "host", "disk": None, "seed": None, "tap": "t",
        "ram": Ram(path=Path("/r"), shared=True), "incoming": True, "paused": True,
        "machine_type": "pc", "tb_size": 5, "kernel": Path("/k"), "extra": ("-x",),
        "shares": (Share(tag="t", socket=Path("/s")),),
        "initrd": Path("/i"), "append": "a",
    }  # fmt: skip
    assert set(other) == {field.name for field in fields(MachinePlan)}
    booted = replace(PLAN, kernel=Path("/vmlinuz"))
    for name, value in other.items():
        base = booted if name in {"initrd", "append"} else PLAN
        changed = replace(base, **{name: value})
        assert build(changed, qmp_fd=7) != build(base, qmp_fd=7), name
