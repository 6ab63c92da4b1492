#!/usr/bin/env python3
"""Evaluate a finished run under another protocol: see `evaluate.py --help`."""

from environment import run_verb

if __name__ == "__main__":
    run_verb("evaluate")
