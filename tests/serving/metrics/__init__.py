"""Tests of `serving.metrics`."""
