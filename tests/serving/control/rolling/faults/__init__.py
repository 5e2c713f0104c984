"""What becomes of rollouts, and of the traffic that they move, when processes are killed, paused or forget."""
