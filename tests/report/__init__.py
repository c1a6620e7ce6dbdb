"""Tests of criteria, evidence and report."""
