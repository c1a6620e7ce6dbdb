"""Tests of the negative controls' own machinery: no VM."""
