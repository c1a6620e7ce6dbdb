"""The stages of a run that could not be built, so that no later test builds them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import GuestFailure, HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class BuildFailures:
    """First failures by stage, VM and digest; one file each, shared by all workers."""

    directory: Path

    @contextmanager
    def remembered(
        self, stage: str, vm: str, digest: str, *, by: str
    ) -> Iterator[None]:
        """Raise the failure of an earlier build, or remember that of the `with`.

        `by` names the test that saw it first.
        """
        file = self.directory / f"{stage}-{vm}-{digest}.failed"
        if file.exists():
            _raise_again(json.loads(file.read_text(encoding="utf-8")), stage, vm)
        try:
            yield
        except (HarnessError, GuestFailure) as error:
            cause = {
                "first": by,
                "subject": isinstance(error, GuestFailure),
                "text": str(error),
            }
            file.write_text(json.dumps(cause), encoding="utf-8")
            raise


def _raise_again(cause: dict[str, Any], stage: str, vm: str) -> None:
    kind = GuestFailure if cause["subject"] else HarnessError
    error = kind(
        f"stage {stage} of {vm} could not be built",
        seen=f"first in {cause['first']}",
        evidence=cause["text"].splitlines()[:1],
    )
    if isinstance(error, HarnessError):
        error.first_in = cause["first"]
    raise error
