"""Tests of `harness/host`."""
