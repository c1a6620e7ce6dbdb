"""The JSON Schema of the spec, for editors and for other people's tools.

`harness spec schema` prints what `fleet.schema.json` must hold.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from harness.fleet.models import Fleet

COMMITTED = resources.files("harness.fleet") / "fleet.schema.json"


def json_schema() -> dict[str, Any]:
    """Generate the schema from the models."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Fleet.model_json_schema(by_alias=True),
    }


def text() -> str:
    """Lay the schema out as it is committed."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
