"""recdl: deep-learning recommenders on click and purchase histories, measured honestly."""

__version__ = "0.1.0"
