"""Two Tritons on one GPU behind the gateway, without Ray: `python -m loadtests.gpu_check`."""
