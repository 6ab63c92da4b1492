#!/usr/bin/env python3
"""Write a run's model as a bundle to be served elsewhere: see `export.py --help`."""

from environment import run_verb

if __name__ == "__main__":
    run_verb("export")
