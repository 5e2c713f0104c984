"""A model that streams tokens, behind real Tritons: for load and for tests."""
