"""Tests of `serving`, with fakes or with single processes; the whole of it is in `tests.e2e`."""
