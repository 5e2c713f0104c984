"""The gateway's worker, tested over real sockets against an upstream that does as it is told."""
