"""Base images in the cache, and the raw disk that one is made from.

An image is read-only, the backing file of every machine's disk. `harness.reference`
builds the only one there is so far.
"""

from harness.image.shelf import Image, Progress, Shelf, Shelved

__all__ = ["Image", "Progress", "Shelf", "Shelved"]
