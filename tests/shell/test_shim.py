"""The program in QEMU's place, and what a command line says about a machine."""

from __future__ import annotations

from harness.shell import CommandLine, shim

FACTS = {
    "cpu": "max", "accelerator": "tcg", "mem": 512, "vcpu": 1, "agent": "/m/agent",
    "console": "/m/console", "log": "/m/log", "monitor": "/m/monitor", "qmp": "/m/qmp",
}  # fmt: skip


def test_qemu_is_scaled_down_and_given_our_channels() -> None:
    """The size of the real host goes, the machine's own hardware stays."""
    words = (
        "-enable-kvm -machine q35,accel=kvm,usb=off -cpu host -m 16G -smp 8 -no-reboot"
        " -drive file=/var/lib/x.qcow2,if=virtio -serial mon:stdio"
        " -netdev tap,id=n,ifname=tap-x"
        " -device virtio-net-pci,netdev=n,mac=52:54:00:00:00:01"
    )
    given = words.split()
    asked = CommandLine.of(given)
    assert (asked.mem, asked.vcpu) == (16384, 8)
    assert asked.macs == ("52:54:00:00:00:01",)
    assert (asked.taps, asked.files) == (("tap-x",), ("/var/lib/x.qcow2",))
    argv = shim.adapt(given, FACTS)
    text = " ".join(argv)
    assert "kvm" not in text
    assert "-machine q35,usb=off -cpu max" in text
    assert (CommandLine.of(argv).mem, CommandLine.of(argv).vcpu) == (512, 1)
    assert "-no-reboot -drive file=/var/lib/x.qcow2" in text
    assert argv.count("-serial") == 1
    assert "name=org.qemu.guest_agent.0" in text
    port = f"virtserialport,chardev=qga,name={shim.AGENT}"
    own = ["-chardev", "socket,path=/run/qga,id=qga", "-device", port]
    argv = shim.adapt(own, FACTS)
    assert argv[1] == "socket,id=qga,path=/m/agent,server=on,wait=off"
    assert "harness-agent" not in " ".join(argv)


def test_a_kernel_on_the_command_line_is_seen() -> None:
    """It would bypass the guest's own boot loader."""
    asked = CommandLine.of(
        ["-kernel", "/k", "-append", "x", "-smp", "sockets=1,cpus=3"]
    )
    assert asked.direct == ("-kernel", "-append")
    assert (asked.mem, asked.vcpu) == (128.0, 3)


def test_files_are_told_from_block_devices() -> None:
    """In the old spelling and the new; `file=` of a block device names a node."""
    words = (
        "-drive file=/a.qcow2,if=virtio -drive if=none,file.filename=/b.iso"
        " -blockdev driver=file,node-name=f,filename=/c.qcow2"
        " -blockdev driver=qcow2,node-name=d,file=f"
        " -blockdev driver=raw,node-name=s,file.driver=file,file.filename=/d.iso"
    )
    asked = CommandLine.of(words.split())
    assert sorted(asked.files) == ["/a.qcow2", "/b.iso", "/c.qcow2", "/d.iso"]
