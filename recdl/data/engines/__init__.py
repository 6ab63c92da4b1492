"""The engines on which one and the same preparation plan runs."""
