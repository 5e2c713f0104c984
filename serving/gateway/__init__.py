"""How a request becomes a reply: a worker process that parses, chooses and relays, and the supervisor that keeps it."""
