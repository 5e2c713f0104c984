"""What `logged.py` logs, for tests that must not import mlflow."""

COMMIT = "0123456789abcdef0123456789abcdef01234567"
