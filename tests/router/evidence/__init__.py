"""Tests of `router.evidence`: oracle numbers, laws of merging, and what the tests do in simulated rollouts."""
