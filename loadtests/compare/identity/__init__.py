"""A Triton model that gives back what it gets."""
