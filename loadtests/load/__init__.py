"""Load of a shape, from users of several kinds in several processes, and what came of it (`sluice loadtest`)."""
