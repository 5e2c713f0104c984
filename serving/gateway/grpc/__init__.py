"""The prediction port for gRPC: a second door of the same gateway. What it shares with HTTP is not here."""
