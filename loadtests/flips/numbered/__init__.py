"""A Triton model that says who it is."""
