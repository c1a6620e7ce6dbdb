"""What a run is about: the fleet spec, parsed once at the door.

`load` reads a file; inside the harness there are only these frozen models.
"""

from harness.spec.fields import TAP_PREFIX, Endpoint
from harness.spec.loading import load, parse_nix_json, parse_toml
from harness.spec.models import (
    Budgets,
    CloudInit,
    Fleet,
    Ingress,
    Lab,
    Migration,
    Network,
    Throwaway,
    Vm,
)
from harness.spec.schema import json_schema

__all__ = [
    "TAP_PREFIX",
    "Budgets",
    "CloudInit",
    "Endpoint",
    "Fleet",
    "Ingress",
    "Lab",
    "Migration",
    "Network",
    "Throwaway",
    "Vm",
    "json_schema",
    "load",
    "parse_nix_json",
    "parse_toml",
]
