"""Garbage collection produces no ESTALE."""
