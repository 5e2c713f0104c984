"""Rollouts that run: what mirrors `serving/control/rolling`."""
