"""Tests of `harness/image`."""
