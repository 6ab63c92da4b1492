#!/usr/bin/env python3
"""Turn a log of events into the form that models are trained on: see `prepare.py --help`."""

from environment import run_verb

if __name__ == "__main__":
    run_verb("prepare")
