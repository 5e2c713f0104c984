"""Models of Triton's Python backend: files that are copied into a repository and run in Triton's stub, not here."""
