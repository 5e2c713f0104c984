"""Who may do what: roles, keys, tokens, limits, as values that every door of ours shares."""
