"""Spec, image and accelerator of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import host, reference
from harness.deadline import Deadline
from harness.fleet import load_fleet
from harness.stage import RunInputs

if TYPE_CHECKING:
    from pathlib import Path

    from harness.fleet import Fleet
    from harness.host import Accel, Accelerator
    from harness.image import Image, Progress
    from harness.stage import Injection

_CHOOSE_S = 120.0  # includes booting a kernel that never comes up


def load_spec(file: Path, fault: Injection | None = None) -> Fleet:
    """Load a spec, as a fault alters it. Raises InputError."""
    fleet = load_fleet(file)
    return fleet if fault is None else fault.alter_spec(fleet)


def choose_accelerator(choice: Accel, base: Image) -> Accelerator:
    """Choose how QEMU runs guest code, by booting the image's kernel."""
    deadline = Deadline.after(_CHOOSE_S, "a kernel to boot under the accelerator")
    return host.choose_accelerator(choice, base.kernel, deadline)


def prepare(
    fleet: Fleet,
    choice: Accel,
    progress: Progress,
    *,
    fault: Injection | None = None,
) -> RunInputs:
    """Build or reuse the reference image and choose the accelerator."""
    progress.step("reference image")
    base = reference.image(progress)
    accelerator = choose_accelerator(choice, base)
    progress.step(f"accelerator {accelerator.name}: {accelerator.reason}")
    return RunInputs(fleet, base, accelerator, fault)
