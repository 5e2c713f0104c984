"""Which version answers, what a rollout does next, whether the evidence is enough: values in, values out."""
