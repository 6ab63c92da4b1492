#!/usr/bin/env python3
"""Recommend items with a bundle: see `recommend.py --help`."""

from environment import run_verb

run_verb("recommend")
