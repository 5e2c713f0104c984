"""The drift sidecar's room."""
