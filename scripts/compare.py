#!/usr/bin/env python3
"""Compare runs: a table, intervals, a paired test, a page: see `compare.py --help`."""

from environment import run_verb

if __name__ == "__main__":
    run_verb("compare")
