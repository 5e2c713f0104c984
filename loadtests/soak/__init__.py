"""Hours of use in minutes: a rollout goes back and forth under load, and nothing that the processes hold may grow."""
