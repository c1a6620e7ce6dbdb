"""The migration as a graph of machine states, each built once and cached.

`cloud → nixos → onboarded → swapped`. A stage is a function of its inputs; its result,
RAM and disk, is kept under their digest and restored per test into a private overlay.
"""

from harness.stage.cache import (
    Cached,
    Machines,
    cached,
    clean,
    ensure,
    machine_at,
    stage_digest,
)
from harness.stage.faulty import FaultyInputs, Injection
from harness.stage.graph import (
    HEARTBEATS,
    MASTER_KEY,
    OLD,
    SECRETS_FILE,
    STAGES,
    TALKER,
    RunInputs,
    Stage,
    address_changed,
    lineage,
)

__all__ = [
    "HEARTBEATS",
    "MASTER_KEY",
    "OLD",
    "SECRETS_FILE",
    "STAGES",
    "TALKER",
    "Cached",
    "FaultyInputs",
    "Injection",
    "Machines",
    "RunInputs",
    "Stage",
    "address_changed",
    "cached",
    "clean",
    "ensure",
    "lineage",
    "machine_at",
    "stage_digest",
]
