#!/usr/bin/env python3
"""Train one model on a log, evaluate it, and leave a run record: see `train.py --help`."""

from environment import run_verb

if __name__ == "__main__":
    run_verb("train")
