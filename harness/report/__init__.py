"""Results as files: `results.json`, JUnit, HTML, from what a run recorded."""

from harness.report.model import Results, dump, json_schema, load
from harness.report.writer import write

__all__ = ["Results", "dump", "json_schema", "load", "write"]
