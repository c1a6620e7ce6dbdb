"""Tests that a spec gives nothing to judge: skipped with the true reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.criteria import BY_ID, StageName
from harness.fleet import lacking, load_fleet
from harness.plugin.markers import subject_of

if TYPE_CHECKING:
    from harness.fleet import Fleet
    from harness.plugin.options import Settings


class Needs:
    """What the spec of a run lacks; read once, when the first test asks."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._fleet: Fleet | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip a test before anything is built for it."""
        if why := self.lacking(item):
            pytest.skip(why)

    def lacking(self, item: pytest.Item) -> str:
        """Say what a test or its criteria need that the spec has not, or nothing."""
        subject = subject_of(item)
        parts = [part for c in subject.criteria for part in BY_ID[c].sections]
        parts += subject.needs
        if subject.stage == StageName.SWAPPED:
            parts.append("migration")
        if not (parts and self.settings.fleet.exists()):
            return ""
        self._fleet = self._fleet or load_fleet(self.settings.fleet)
        return lacking(self._fleet, parts)
