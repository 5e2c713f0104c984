"""What an installation says of itself to Prometheus: which figures there are, and the listener that gives them away."""
