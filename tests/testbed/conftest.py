"""The machine room's bench, for a guest that is saved where a stage would be."""

from tests.machine.conftest import bench, capable, image, site

__all__ = ["bench", "capable", "image", "site"]
