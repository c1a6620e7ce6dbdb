"""The migration as a graph of machine states, each built once and cached.

`cloud → nixos → onboarded → swapped`. A stage is a function of its inputs; its result,
RAM and disk, is kept under their digest and restored per test into a private overlay.
"""

from harness.stage.cache import (
    StageCache,
    cached,
    code_digest,
    damaged,
    key,
    places,
    remove,
)
from harness.stage.entry import Cached, demand_whole, occupied
from harness.stage.graph import (
    HEARTBEATS,
    MASTER_KEY,
    SECRETS_FILE,
    STAGES,
    TALKER,
    Stage,
    address_changed,
    lineage,
)
from harness.stage.inputs import OLD, Injection, RunInputs

__all__ = [
    "HEARTBEATS",
    "MASTER_KEY",
    "OLD",
    "SECRETS_FILE",
    "STAGES",
    "TALKER",
    "Cached",
    "Injection",
    "RunInputs",
    "Stage",
    "StageCache",
    "address_changed",
    "cached",
    "code_digest",
    "damaged",
    "demand_whole",
    "key",
    "lineage",
    "occupied",
    "places",
    "remove",
]
