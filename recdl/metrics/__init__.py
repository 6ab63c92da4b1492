"""Floor 1: pure array code for ranking, catalogue and behaviour metrics."""
