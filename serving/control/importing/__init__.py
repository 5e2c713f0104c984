"""Bringing a version over from an MLflow tracking server; `docs/mlflow.md` says what comes along, what is refused."""
