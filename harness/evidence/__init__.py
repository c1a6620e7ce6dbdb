"""Evidence: checks made of facts, and the notes, files and series of a test.

A test makes `Check`s of what it observed (most often by the pure functions of its
suite's `checks.py`) and hands them to its `Recorder`, the fixture `check`.
"""

from harness.evidence.check import (
    Check,
    Expectation,
    Relation,
    absent,
    at_least,
    at_most,
    contains,
    differs_from,
    lacks,
    one_of,
    only,
    present,
    starts_with,
)
from harness.evidence.recorder import (
    RECORD,
    Attachment,
    Point,
    Recorder,
    SeriesKind,
    slug,
)
from harness.evidence.redaction import clean, redact, redact_text, scrub, secret_setting

__all__ = [
    "RECORD",
    "Attachment",
    "Check",
    "Expectation",
    "Point",
    "Recorder",
    "Relation",
    "SeriesKind",
    "absent",
    "at_least",
    "at_most",
    "clean",
    "contains",
    "differs_from",
    "lacks",
    "one_of",
    "only",
    "present",
    "redact",
    "redact_text",
    "scrub",
    "secret_setting",
    "slug",
    "starts_with",
]
