#!/usr/bin/env python3
"""Add a later piece of log to a prepared one: see `append.py --help`."""

from environment import run_verb

if __name__ == "__main__":
    run_verb("append")
