"""Letting in under load: keys taken back, an issuer that goes away and one that renews its keys, on three gateways."""
