"""Load with a shape, and the check that every answer came from the version that the policy names."""
