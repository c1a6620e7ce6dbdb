"""This computer: its programs and caches, the accelerator, a diagnosis."""

from harness.host.accelerator import (
    TCG,
    Accel,
    Accelerator,
    choose_accelerator,
    known_accelerator,
)
from harness.host.doctor import Finding, examine, lacking
from harness.host.programs import QEMU, cache_dir, nginx, qemu_version, virtiofsd
from harness.host.release import Distribution, distribution, remedy

__all__ = [
    "QEMU",
    "TCG",
    "Accel",
    "Accelerator",
    "Distribution",
    "Finding",
    "cache_dir",
    "choose_accelerator",
    "distribution",
    "examine",
    "known_accelerator",
    "lacking",
    "nginx",
    "qemu_version",
    "remedy",
    "virtiofsd",
]
