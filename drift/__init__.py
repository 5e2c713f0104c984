"""Whether live data has moved away from what a version was trained on, and whose fault it is; changes no traffic."""
