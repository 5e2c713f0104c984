"""Tests of the kit itself; left out where it is aimed at a server."""
