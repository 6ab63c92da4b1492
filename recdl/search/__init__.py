"""Search for the settings of a model that are best on validation."""
