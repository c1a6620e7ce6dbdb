"""Tests of `harness/qemu`."""
