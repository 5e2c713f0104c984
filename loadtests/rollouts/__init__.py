"""Rollouts under load: how fast a change is everywhere, how wide a flip is, and whether every answer is right."""
