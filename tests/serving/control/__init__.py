"""Tests of the control API and of its client."""
