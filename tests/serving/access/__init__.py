"""Tests of who is let in: keys, tokens, the table, the security log."""
