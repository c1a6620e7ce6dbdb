"""The bench of the machine's tests: a real site, a real QEMU, a boot-sector guest."""

from tests.machine.conftest import bench, capable, image, site

__all__ = ["bench", "capable", "image", "site"]
