"""The models that the vectors ask, as a repository for Triton: `python -m tests.conformance.models FOLDER`."""
