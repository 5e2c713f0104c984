"""Tests of `registry`: values, properties, a folder of artifacts, and a Valkey for what only that can show."""
