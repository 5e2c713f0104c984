"""Rollouts under way: what they are started with, what is kept of them, and the loop that walks them."""
