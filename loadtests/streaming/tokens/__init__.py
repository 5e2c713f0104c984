"""A Triton model that says one token after another."""
