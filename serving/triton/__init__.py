"""One tritonserver for each replica of a model version: found, laid out, started, watched and stopped."""
