"""A Triton model that tells classes apart, a little noisily, and may confuse two of them in one segment."""
