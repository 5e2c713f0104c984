"""The control room: what the traffic is meant to be, who runs it, and how it is changed. See the README beside it."""
