"""results.json: its schema, its round trip, its faults."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jsonschema
import pytest

from harness import report
from harness.errors import InputError
from harness.report import model
from tests.report import samples

if TYPE_CHECKING:
    from pathlib import Path

from importlib import resources


def committed() -> dict[str, object]:
    """Read the schema as users get it."""
    text = (resources.files("harness.report") / "results.schema.json").read_text()
    schema: dict[str, object] = json.loads(text)
    return schema


def test_committed_schema_is_the_models() -> None:
    """The committed JSON Schema is what the models say today."""
    assert committed() == model.json_schema()


def test_schema_is_a_schema() -> None:
    """The JSON Schema is valid itself."""
    jsonschema.Draft202012Validator.check_schema(committed())


def test_results_obey_the_schema() -> None:
    """What is written validates, and says which version it is."""
    data = json.loads(report.dump(samples.with_controls(samples.results())))
    jsonschema.validate(data, committed(), cls=jsonschema.Draft202012Validator)
    assert data["schema"] == 1


def test_schema_refuses_unknown_verdicts() -> None:
    """A verdict outside of the four does not validate."""
    data = json.loads(report.dump(samples.results()))
    data["criteria"][0]["verdict"] = "maybe"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, committed(), cls=jsonschema.Draft202012Validator)


def test_round_trip(tmp_path: Path) -> None:
    """What is read is what was written."""
    results = samples.with_controls(samples.results())
    (tmp_path / "results.json").write_text(report.dump(results))
    assert report.load(tmp_path / "results.json") == results


def test_all_faults_of_a_file_in_one_error(tmp_path: Path) -> None:
    """Every mistake of a file that is no results file is reported."""
    path = tmp_path / "results.json"
    path.write_text('{"schema": 2, "run": {"id": 1}, "extra": 0}')
    with pytest.raises(InputError) as caught:
        report.load(path)
    assert {"schema", "run.id", "criteria", "tests", "extra"} <= {
        fault.key for fault in caught.value.mistakes
    }


def test_percentiles_interpolate() -> None:
    """The median of 1…20 lies between 10 and 11, the 95th percentile at 19.05."""
    values = [float(n) for n in range(1, 21)]
    assert model.Spread.of(values) == model.Spread(p50=10.5, p95=19.05, n=20)
    assert model.Spread.of([3.0]) == model.Spread(p50=3.0, p95=3.0, n=1)
