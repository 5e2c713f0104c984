"""How a request becomes a reply, and who runs all this; decisions about traffic are left to `router`."""
