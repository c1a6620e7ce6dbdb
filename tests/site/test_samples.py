"""What follows from samples: outages, owners, and the watcher's own blindness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import HarnessError
from harness.site import Outage, Sample, samples

if TYPE_CHECKING:
    from pathlib import Path


def pings(*ok: bool) -> list[Sample]:
    """Make one ping a second."""
    return [Sample(float(at), "ping", good, "") for at, good in enumerate(ok)]


def beats(*at: float) -> list[dict[str, Any]]:
    """Make a watcher's beats, the first of which is its start."""
    started = {"at": at[0], "kind": samples.STARTED}
    return [started, *({"at": t, "kind": samples.BEAT} for t in at)]


def test_an_outage_lasts_until_the_next_answer() -> None:
    """It begins with the first question that had none."""
    found = samples.outages(pings(True, False, False, True, False, True))
    assert found == [Outage(1, 3), Outage(4, 5)]
    assert samples.longest(found) == 2


def test_an_outage_that_the_watch_did_not_outlive() -> None:
    """It is marked, because its length is not the whole one."""
    assert samples.outages(pings(True, False, False)) == [Outage(1, 2, ended=False)]


def test_an_answer_all_the_time_is_no_outage() -> None:
    """Nothing found, zero seconds."""
    assert samples.outages(pings(True, True)) == []
    assert samples.longest([]) == 0


def test_no_samples_is_not_no_outage() -> None:
    """A kind that was never asked is the instrument's failure."""
    with pytest.raises(HarnessError, match="took no tcp:22 samples"):
        samples.of_kind(pings(True), "tcp:22")


def test_owners_are_told_by_their_changes() -> None:
    """Silence is an empty set of owners."""
    seen = ["a", "a", "a b", "b a", "", "b"]
    arps = [Sample(float(at), "arp", bool(m), m) for at, m in enumerate(seen)]
    assert samples.owners(arps) == [
        (0, frozenset("a")),
        (2, frozenset("ab")),
        (4, frozenset()),
        (5, frozenset("b")),
    ]


def test_a_gap_between_beats_is_blindness() -> None:
    """Whether in the middle, before now, or before the stop."""
    assert samples.longest_gap(beats(0, 1, 4, 5), until=5) == 3
    assert samples.longest_gap(beats(0, 1), until=9) == 8
    stopped = [*beats(0, 1), {"at": 3.0, "kind": samples.STOPPED}]
    assert samples.longest_gap(stopped, until=99) == 2


def test_a_watcher_without_a_beat_saw_nothing() -> None:
    """Its blindness has no bound."""
    assert samples.longest_gap([], until=1) == float("inf")


def test_a_line_still_being_written_is_left_out(tmp_path: Path) -> None:
    """Reading while the watcher writes yields whole records, each once."""
    path = tmp_path / "samples.jsonl"
    path.write_text("")
    tail = samples.Tail(path)
    assert tail.records() == []
    with path.open("a", buffering=1) as file:
        for text, seen in [('{"at": 1}\n{"at"', [1]), (": 2", [1]), ("}\n", [1, 2])]:
            file.write(text)
            file.flush()
            assert [record["at"] for record in tail.records()] == seen
