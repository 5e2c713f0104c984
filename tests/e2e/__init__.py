"""What needs the real Ray, Triton and Valkey: started once a session, and cleaned up in any case."""
