"""HTTP/2 (RFC 9113) for relays: connections that hand streams on as bytes."""
