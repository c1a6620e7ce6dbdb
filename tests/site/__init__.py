"""Tests of the LAN stand-in: real namespaces, links, packets and name server."""
