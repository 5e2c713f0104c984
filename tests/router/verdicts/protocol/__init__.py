"""The protocol by which verdicts are proved: simulated rollouts, what is asked of them, and what is shown beside."""
