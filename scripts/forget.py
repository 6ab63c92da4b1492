#!/usr/bin/env python3
"""Take users out of prepared logs, and say what has learned from them: see `forget.py --help`."""

from environment import run_verb

if __name__ == "__main__":
    run_verb("forget")
