"""Which models and versions exist, what they are made of and what they are called; nothing about traffic."""
