#!/usr/bin/env python3
"""Say what a log is like and what is wrong with it, before training: see `inspect_log.py --help`.

Not inspect.py: a script's folder comes first where Python looks for modules, and one of that name would stand in
the place of the standard library's `inspect` for every script here.
"""

from environment import run_verb

if __name__ == "__main__":
    run_verb("inspect")
