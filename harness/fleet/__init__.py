"""The fleet file as frozen models, parsed and validated once.

`load_fleet` reads a file; inside the harness there are only these frozen models.
"""

from harness.fleet.fields import TAP_PREFIX, Endpoint
from harness.fleet.loading import load_fleet, parse_nix_json, parse_toml
from harness.fleet.models import (
    Budgets,
    CloudInit,
    Fleet,
    Ingress,
    LabSpec,
    Migration,
    NetworkSpec,
    Throwaway,
    Vm,
)
from harness.fleet.schema import json_schema
from harness.fleet.sections import PARTS, lacking

__all__ = [
    "PARTS",
    "TAP_PREFIX",
    "Budgets",
    "CloudInit",
    "Endpoint",
    "Fleet",
    "Ingress",
    "LabSpec",
    "Migration",
    "NetworkSpec",
    "Throwaway",
    "Vm",
    "json_schema",
    "lacking",
    "load_fleet",
    "parse_nix_json",
    "parse_toml",
]
