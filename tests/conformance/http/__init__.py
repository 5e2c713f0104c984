"""The HTTP half: exact bytes out, answers read back by hand, and the vectors."""
