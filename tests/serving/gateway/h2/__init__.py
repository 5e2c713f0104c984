"""Tests of serving/gateway/h2."""
