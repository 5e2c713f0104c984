"""Tests of what is done with the project beside building and testing it."""
