"""Tests of how Triton is found, laid out, started, warmed up and leased."""
