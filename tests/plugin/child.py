"""Run pytest as a child process on a suite made for the purpose."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import jsonschema

from harness import report
from harness.deadline import Deadline
from harness.process import Completed, run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.report import Results

ROOT = Path(__file__).parents[2]
_RUN_S = 50.0
_INI = """\
[pytest]
testpaths = tests
addopts = -ra --import-mode=importlib -p no:cacheprovider -p xdist -p timeout
  -p harness.plugin
filterwarnings = error
strict = true
"""


@dataclass(frozen=True)
class Child:
    """A project with suites of its own, and what pytest made of it."""

    directory: Path

    @classmethod
    def made_of(cls, directory: Path, files: Mapping[str, str]) -> Child:
        """Lay out a project; `files` maps paths to their (indented) content."""
        (directory / "pytest.ini").write_text(_INI)
        (directory / "tests").mkdir()
        for name, content in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(content))
        return cls(directory)

    def listed(self) -> str:
        """Return the register that it prints, on one line."""
        return " ".join(self.run("--list-criteria").stdout.split())

    def argv(self, *args: str) -> list[str]:
        """Give the command line."""
        return [sys.executable, "-m", "pytest", *args]

    def env(self) -> dict[str, str]:
        """Give an environment that knows nothing of the pytest that runs this."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        # Half of a child's time would go into plugins that it does not use.
        kept["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        return {**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}

    def run(self, *args: str, stdin: bytes = b"") -> Completed:
        """Run pytest to its end."""
        return run(
            self.argv(*args),
            deadline=Deadline.after(_RUN_S, "a child pytest to end"),
            stdin=stdin,
            env=self.env(),
            cwd=self.directory,
        )

    @property
    def reports(self) -> list[Path]:
        """Every report directory, oldest first."""
        found = (self.directory / "reports").glob("2*")
        return sorted(found)

    @property
    def latest(self) -> Path:
        """The newest report."""
        return (self.directory / "reports" / "latest").resolve()

    def results(self) -> Results:
        """Read the newest results, having held them to the committed schema."""
        path = self.latest / "results.json"
        schema: dict[str, Any] = json.loads(
            (ROOT / "harness/report/results.schema.json").read_text()
        )
        jsonschema.validate(json.loads(path.read_text()), schema)
        return report.load(path)
