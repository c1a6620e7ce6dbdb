"""`inodes-within-budget`: what no collector can change."""

import pytest

from harness import Budgets, Machine, Recorder
from suites.inodes import checks

pytestmark = [
    pytest.mark.criterion("inodes-within-budget"),
    pytest.mark.stage("onboarded"),
]


@pytest.mark.scenario("layout")
@pytest.mark.fastest
def test_file_systems_suit_a_store(
    dev: Machine, check: Recorder, budgets: Budgets
) -> None:
    """Inodes are counted when the file system is made; no old root is left."""
    for sample in dev.inodes.sample("/", "/nix").values():
        check(checks.fits_a_store(sample, budgets))
    check(checks.cleaned_up(dev.inodes.census(depth=1).leftovers))
