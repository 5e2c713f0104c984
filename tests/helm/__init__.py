"""The chart: rendered, held against the schemas of what it makes, and against the code that it runs."""
