"""A decoupled Triton model that says the same as often as it is asked to."""
