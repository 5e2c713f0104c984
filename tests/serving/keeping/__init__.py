"""The keeper: what becomes of what workers hand over."""
