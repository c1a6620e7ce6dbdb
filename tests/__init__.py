"""Tests of the instrument: processes, sockets and parsers for real, no VM."""
