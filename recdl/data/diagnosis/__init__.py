"""What a log is like, and what is wrong with it, before anything is trained on it."""
