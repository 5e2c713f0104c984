"""What grows with gateways, models and servers, and what does not."""
