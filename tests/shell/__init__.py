"""Tests of the shell around a VM."""
