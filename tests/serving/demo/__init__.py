"""Tests of the demo's models."""
