"""A kit that tells whether a server keeps the Open Inference Protocol as Triton does; README.md says how to aim it."""
