"""What looks at a window and says how surprising it is: ours, and those of alibi-detect, behind one protocol."""
