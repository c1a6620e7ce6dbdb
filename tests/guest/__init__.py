"""Tests of what runs inside a guest, without a guest."""
