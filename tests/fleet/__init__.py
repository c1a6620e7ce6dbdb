"""Tests of the spec: examples as people write them, and any text at all."""
