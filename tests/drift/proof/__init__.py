"""What `make proof-drift` measures, and the bars that it is held against."""
