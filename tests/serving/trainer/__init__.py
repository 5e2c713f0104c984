"""Tests of the example trainer."""
