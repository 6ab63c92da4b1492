#!/usr/bin/env python3
"""Search for the settings of a model that are best on validation: see `sweep.py --help`."""

from environment import run_verb

if __name__ == "__main__":
    run_verb("sweep")
