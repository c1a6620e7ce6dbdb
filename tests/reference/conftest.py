"""The guest programs lie in the tree as files of the image: import them from there."""

from __future__ import annotations

import sys
from pathlib import Path

NIXOS = Path(__file__).parents[2] / "harness/reference/nixos"
sys.path.insert(0, str(NIXOS / "python"))
