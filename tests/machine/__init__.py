"""Tests of `harness/machine`."""
