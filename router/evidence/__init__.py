"""Is the evidence enough? E-values of rollouts: values in, values out, valid however often one looks."""
