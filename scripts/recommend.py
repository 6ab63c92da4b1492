#!/usr/bin/env python3
"""Recommend items with a bundle: see `recommend.py --help`."""

from environment import run_verb

if __name__ == "__main__":
    run_verb("recommend")
