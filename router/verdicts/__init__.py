"""What the evidence of a rollout is enough for: guardrails, what they watch, and the case that is built on them."""
