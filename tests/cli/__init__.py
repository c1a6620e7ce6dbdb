"""Tests of the command line: real processes and sockets, no VM."""
