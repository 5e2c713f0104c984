"""Rollback by itself: candidates that turn bad in the middle of a rollout, on a real installation under load."""
