"""Floor 2: events, vocabularies, preparation, splits, histories, sampling and batches."""
