"""Tests of what is brought over from MLflow."""
