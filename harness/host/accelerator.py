"""An accelerator that really works: chosen by booting a kernel.

`/dev/kvm` says little. It has been seen to open, to create a VM, and never to get a
64-bit kernel to its first line.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from harness.deadline import Deadline, poll
from harness.errors import DeadlineExpired, HostError
from harness.host.programs import QEMU, cache_dir, qemu_version
from harness.process import STDOUT, spawn


class Accel(StrEnum):
    """An accelerator by QEMU's name, or `auto`: KVM where it works, else TCG."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


# How many times longer a deadline is than under KVM. Measured: a Debian guest that
# boots in 8 s under KVM takes 33 s under TCG on the same two cores.
PATIENCE = {Accel.KVM: 1.0, Accel.TCG: 4.0}

# CPU models to try under KVM, best first: `host` is fastest, but QEMU aborts on it
# where the hypervisor below refuses one of the host CPU's MSRs.
_KVM_CPUS = ("host", "kvm64")
_KVM = Path("/dev/kvm")
PROBE_S = 5.0
_FIRST_LINE = re.compile(r"Linux version \S+")
_KVM_STUCK = re.compile(r"KVM internal error.*|failed to set MSR.*|.*Assertion .*")


@dataclass(frozen=True, slots=True)
class Accelerator:
    """How QEMU runs guest code here, and why so.

    `cpu` is the CPU model that works with it; `patience` multiplies every deadline that
    was set with KVM in mind.
    """

    name: Accel
    reason: str
    cpu: str
    patience: float


TCG = Accelerator(Accel.TCG, "asked for", "max", PATIENCE[Accel.TCG])


def choose_accelerator(
    choice: Accel, kernel: Path | None, deadline: Deadline
) -> Accelerator:
    """Choose KVM or TCG by booting `kernel` under KVM to its first line.

    `auto` falls back to TCG and says why; `kvm` never does. The answer is kept until
    the host boots again or QEMU changes. Raises HostError.
    """
    if choice is Accel.TCG:
        return TCG
    accelerator = known_accelerator()
    if accelerator is None:
        accelerator = _probe(kernel, deadline)
        if kernel is not None:
            _remember(accelerator)
    if choice is Accel.KVM and accelerator.name is not Accel.KVM:
        raise HostError(
            f"no usable KVM: {accelerator.reason}",
            hint="use --accel auto or --accel tcg; it is slower, but works",
        )
    return accelerator


def known_accelerator() -> Accelerator | None:
    """Return what an earlier probe found, if the host has not booted since."""
    try:
        kept = json.loads(_answer_file().read_text())
        if kept.pop("key") != _host_key():
            return None
        return Accelerator(**kept | {"name": Accel(kept["name"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # none yet, damaged, or of another version of the harness


def _remember(accelerator: Accelerator) -> None:
    """Keep the answer; the rename makes it whole or absent for other workers."""
    target = _answer_file()
    text = json.dumps({"key": _host_key(), **asdict(accelerator)}, indent=1)
    with tempfile.NamedTemporaryFile(
        "w", dir=target.parent, prefix=".accelerator-", delete=False
    ) as partial:
        partial.write(text + "\n")
    Path(partial.name).rename(target)


def _answer_file() -> Path:
    return cache_dir() / "accelerator.json"


def _host_key() -> str:
    """Name this boot of this host, with this QEMU and this access to KVM."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot_id} {qemu_version()} {os.access(_KVM, os.R_OK | os.W_OK)}"


def _tcg(reason: str) -> Accelerator:
    return replace(TCG, reason=reason)


def _probe(kernel: Path | None, deadline: Deadline) -> Accelerator:
    if not _KVM.exists():
        return _tcg("there is no /dev/kvm")
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return _tcg("no permission to use /dev/kvm")
    if kernel is None:
        return _tcg("no kernel at hand to try KVM with")
    reasons = []
    for cpu in _KVM_CPUS:
        failure = _boots_under_kvm(kernel, cpu, deadline)
        if failure is None:
            reason = f"booted a kernel with -cpu {cpu}"
            return Accelerator(Accel.KVM, reason, cpu, PATIENCE[Accel.KVM])
        reasons.append(f"-cpu {cpu}: {failure}")
    return _tcg("KVM does not boot a kernel: " + "; ".join(reasons))


def probe_argv(kernel: Path, cpu: str) -> list[str]:
    """Build the command line of the KVM probe: a kernel, a serial port, no disk."""
    # fmt: off
    return [
        QEMU,
        "-accel", "kvm", "-cpu", cpu, "-m", "256",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-serial", "stdio",
        "-kernel", str(kernel),
        "-append", "console=ttyS0 earlyprintk=serial,ttyS0 panic=-1",
    ]
    # fmt: on


def _boots_under_kvm(kernel: Path, cpu: str, deadline: Deadline) -> str | None:
    """Return None if the kernel's first line came, else what was seen instead."""
    with (
        tempfile.TemporaryFile() as output,
        spawn(
            probe_argv(kernel, cpu), stdout=output, stderr=STDOUT, grace=1.0
        ) as process,
    ):

        def said() -> str:
            return os.pread(output.fileno(), 1 << 20, 0).decode(errors="replace")

        def verdict() -> str | None:
            if _FIRST_LINE.search(said()):
                return ""
            if process.poll() is not None:
                return _explain(said()) or f"QEMU ended with {process.returncode}"
            return _explain(said())

        try:
            awaited = f"the first line of a kernel under KVM (-cpu {cpu})"
            return poll(verdict, deadline.sub(PROBE_S, awaited)) or None
        except DeadlineExpired:
            last = said().strip().splitlines()[-1:] or ["not one byte"]
            return f"no line of the kernel in {PROBE_S:.0f} s, only: {last[0]}"


def _explain(text: str) -> str | None:
    found = _KVM_STUCK.search(text)
    return found[0].strip().removeprefix(f"{QEMU}: ") if found else None
