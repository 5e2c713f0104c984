"""Tests of `router`: values and properties, no servers."""
