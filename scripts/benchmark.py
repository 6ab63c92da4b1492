#!/usr/bin/env python3
"""Train several models on one log and compare them: see `benchmark.py --help`."""

from environment import run_verb

if __name__ == "__main__":
    run_verb("benchmark")
