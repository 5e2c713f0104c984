"""Tests of `loadtests.load`."""
