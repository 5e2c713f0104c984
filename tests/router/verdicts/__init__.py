"""Tests of `router.verdicts`: what is heard of a rollout, and what follows from it."""
