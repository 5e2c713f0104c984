"""The live view of a rollout: what is seen (`seen`), what the screen says (`frame`), how it gets there (`screen`)."""
