"""A Triton model whose behaviour is switched from outside, in the middle of whatever it does."""
