"""Charts: axes fit the data, the number is the check's, equal series give the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import Quantity, at_most, slope
from harness.evidence import Check, Recorder, SeriesKind
from harness.report import charts
from harness.report.series import Series, load
from harness.report.ticks import nice_ticks
from tests.report.samples import recorded

if TYPE_CHECKING:
    from pathlib import Path

# What cycles 0 to 5 left behind: the first has what onboarding built.
USED = [40_000, 61_000, 61_010, 61_021, 61_029, 61_040]


def growth(name: str = "growth") -> Check:
    """Judge the samples as the suite does: without the first."""
    return Check(name, Quantity(slope(USED[1:]), "inodes"), at_most(500), during="on /")


def inodes(directory: Path) -> Series:
    """Record what the suite records, and read it back."""
    points = [(n, used, "after GC") for n, used in enumerate(USED[1:], 1)]
    path = Recorder("t", directory).series(
        "inodes /",
        [*points, (0, USED[0], "before the first cycle")],
        budget=300_000,
        judged_by=("growth", "on /"),
    )
    return load(path)


def test_a_drawing_says_the_number_of_its_check(tmp_path: Path) -> None:
    """The growth that is drawn is the one that was judged, not a fit of its own."""
    chart = charts.draw(inodes(tmp_path), [recorded(growth())])
    assert "9.9 inodes" in chart.caption
    assert [c.label for c in chart.curves][-1] == "growth 9.9 inodes per cycle"
    assert not chart.failed


def test_without_its_check_no_growth_is_drawn(tmp_path: Path) -> None:
    """A drawing has no number of its own."""
    chart = charts.draw(inodes(tmp_path), [recorded(growth("another"))])
    assert chart.caption == ""
    assert all("growth" not in curve.label for curve in chart.curves)


def test_each_heartbeat_has_the_number_of_its_own_check() -> None:
    """Checks of several sessions share a name; the drawn gap tells them apart."""
    rows = [
        recorded(Check("unbroken", Quantity(ms, "ms"), at_most(1000), of=f"gap of {n}"))
        for n, ms in (("alpha", 490), ("beta", 34_690))
    ]
    points = ((1.0, 120.0, "beta"), (36.0, 34_690.0, "beta"))
    series = Series(
        "heartbeat", SeriesKind.HEARTBEAT, points, 1000, judged_by="unbroken"
    )
    chart = charts.draw(series, rows)
    assert "gap of beta" in chart.caption
    assert chart.failed


def test_a_far_budget_is_a_label_and_a_near_one_a_line() -> None:
    """The axis fits the data; a budget ten times as high must not flatten it."""
    points = tuple((float(n), 40_000.0 + n, "") for n in range(5))
    far = charts.draw(Series("inodes", SeriesKind.INODES, points, 300_000), [])
    assert far.budget is None
    assert far.budget_note == "budget 300 000, above this axis"
    near = charts.draw(Series("inodes", SeriesKind.INODES, points, 40_006), [])
    assert near.budget is not None
    assert 0 <= near.budget <= 100


@pytest.mark.parametrize(
    "points",
    [
        ((0.0, 0.0, ""),),
        ((3.0, 7.0, "a"), (3.0, 7.0, "b")),
        ((0.0, -5.0, ""), (1.0, 1e9, "")),
        tuple((n / 10, float(n % 17), "x") for n in range(20_000)),
    ],
    ids=["one zero", "one place", "far apart", "many"],
)
@pytest.mark.parametrize("kind", SeriesKind)
def test_any_series_fits_its_frame(
    kind: SeriesKind, points: tuple[tuple[float, float, str], ...]
) -> None:
    """Every tick lies within the frame, and the size is bounded."""
    series = Series("s", kind, points, 3.0)
    chart = charts.draw(series, [])
    assert chart == charts.draw(series, [])
    for place, _ in (*chart.x_ticks, *chart.y_ticks):
        assert -0.1 <= place <= 100.1
    assert len(chart.x_ticks) <= 8
    assert sum(len(c.path) + len(c.dots) for c in chart.curves) < 10_000


def test_thinning_keeps_the_extremes() -> None:
    """A single gap among thousands of beats stays visible."""
    points = [(float(n), 100.0) for n in range(5000)]
    points[2345] = (2345.0, 34_690.0)
    assert (2345.0, 34_690.0) in charts.thin(points)


def test_ticks_are_round() -> None:
    """Between the ends, in steps that people count in."""
    assert nice_ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert nice_ticks(61_000, 61_040, 4) == [61_000, 61_010, 61_020, 61_030, 61_040]
    assert nice_ticks(5, 5, 4) == [5]
