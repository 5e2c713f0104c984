"""The payload log."""
