#!/usr/bin/env python3
"""Run the tests, from nothing: install recdl into .venv, then call pytest with the arguments given."""

import os
import sys

from environment import ROOT, ensure, replace_by

# The tests of one file share what they trained; two processes, of one thread each.
ALL = ["-n", "2", "--dist", "loadfile"] if (os.cpu_count() or 1) > 1 else []

python = ensure("complete-journey", "dev")
os.chdir(ROOT)
if not sys.argv[1:]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
replace_by(python, ["-m", "pytest", *(sys.argv[1:] or ALL)])
