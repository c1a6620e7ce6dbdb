"""Tests of `harness.bystander`."""
