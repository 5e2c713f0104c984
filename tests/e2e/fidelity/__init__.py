"""Tests that a client cannot tell the gateway from the one Triton behind it, beside those of the conformance kit."""
