"""The room of load and comparison: what of it is pure."""
