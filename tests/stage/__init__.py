"""Tests of saved stages."""
