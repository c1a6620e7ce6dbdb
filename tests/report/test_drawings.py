"""The content of drawings, and that equal series give equal drawings."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.evidence import SeriesKind
from harness.report.drawings import Chart, Interval, draw_all, intervals

SAMPLES = st.lists(
    st.tuples(st.integers(0, 1000), st.sampled_from((0.0, 1.0)), st.just("ping")),
    min_size=1,
    unique_by=lambda sample: sample[0],
)


def test_intervals_join_what_is_the_same() -> None:
    """Neighbouring samples that agree become one stretch."""
    samples = [(0, 1, "a"), (1, 1, "a"), (2, 0, "b"), (3, 1, "a"), (4, 1, "a")]
    assert intervals(samples, by_label=True) == [
        Interval(0, 2, good=True, label="a"),
        Interval(2, 3, good=False, label="b"),
        Interval(3, 4, good=True, label="a"),
    ]


@given(SAMPLES)
def test_intervals_cover_the_time_once(samples: list[tuple[float, float, str]]) -> None:
    """Stretches follow each other without gap, alternate, and span all samples."""
    found = intervals(samples, by_label=False)
    times = [x for x, _, _ in samples]
    assert (found[0].start, found[-1].end) == (min(times), max(times))
    for before, after in pairwise(found):
        assert before.end == after.start
        assert before.good != after.good


@pytest.mark.parametrize("kind", SeriesKind)
def test_each_kind_draws_the_same_twice(kind: SeriesKind) -> None:
    """The same points give the same SVG, in the page's own colour."""
    points = tuple((float(n), float(n % 2), "x") for n in range(10))
    series = Chart(kind.value, kind, points, 3.0, {"switch": 2.0})
    first, second = (draw_all([series])[0] for _ in range(2))
    assert first == second
    assert "currentColor" in first.svg
    assert ">switch<" in first.svg


def test_address_and_dns_share_a_timeline() -> None:
    """What the LAN saw is one drawing; an empty series is none."""
    points = ((0.0, 1.0, "ping"), (1.0, 0.0, "ping"), (2.0, 1.0, "ping"))
    both = [
        Chart("address", SeriesKind.ADDRESS, points, None, {}),
        Chart("dns", SeriesKind.DNS, points, None, {}),
        Chart("nothing", SeriesKind.PLOT, (), None, {}),
    ]
    assert len(draw_all(both)) == 1
