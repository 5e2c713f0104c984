"""What looks at windows."""
