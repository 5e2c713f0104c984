"""Tests of the live view of a rollout."""
