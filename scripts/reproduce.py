#!/usr/bin/env python3
"""Repeat a run from its record and say what came out otherwise: see `reproduce.py --help`."""

from environment import run_verb

if __name__ == "__main__":
    run_verb("reproduce")
