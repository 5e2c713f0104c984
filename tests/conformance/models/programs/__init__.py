"""Models of Triton's Python backend, each a file that is placed as `model.py`; `repository.py` configures them."""
