"""Causes that break several tests: the first test reports it, the others name that one.

Shared by all workers of a run: a file for each cause, named by its digest.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.plugin.outcome import explain

if TYPE_CHECKING:
    from pathlib import Path

# What differs between two messages about one cause: times, addresses, run directories.
_ACCIDENTAL = re.compile(
    r"0x[0-9a-f]+|\b\d+(\.\d+)? s\b|\bpid \d+|/vma-\d+/[0-9a-f]+(/\d+)?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Causes:
    """Who met each cause first."""

    directory: Path
    _met: dict[str, str] = field(default_factory=dict)

    def first(self, error: BaseException, nodeid: str) -> str:
        """Return the test that an error broke first; `nodeid` itself if it is new."""
        if isinstance(error, HarnessError) and error.first_in:
            return error.first_in
        text = f"{type(error).__name__} {_ACCIDENTAL.sub('#', explain(error))}"
        key = sha256(text.encode(errors="replace")).hexdigest()
        if key not in self._met:
            self._met[key] = self._claim(self.directory / key, nodeid)
        return self._met[key]

    def _claim(self, file: Path, nodeid: str) -> str:
        """Put a test's name into a file, or return the one that is there."""
        draft = file.with_name(f"{file.name}.{os.getpid()}")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            draft.write_text(nodeid, encoding="utf-8")
            # Whole at once: another worker never reads half a name.
            os.link(draft, file)
        except FileExistsError:
            return file.read_text(encoding="utf-8")
        except OSError:
            return nodeid  # a full disk: each worker reports it once
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
        return nodeid


def same_cause(first: str, error: BaseException) -> str:
    """Write the one line of a test that an earlier one's cause broke too."""
    words = explain(error).partition("\n")[0]
    if isinstance(error, HarnessError) and error.first_in:
        words = ": ".join([words, *error.evidence[:1]])
    return f"same cause as {first}: {words}"
