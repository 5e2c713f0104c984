"""A model without manners, for Triton's Python backend."""
