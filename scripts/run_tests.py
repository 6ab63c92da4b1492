#!/usr/bin/env python3
"""Run the tests, from nothing: install recdl into .venv, then call pytest with the arguments given."""

import os
import sys

from environment import ROOT, ensure, replace_by

# Tests of one group share what they trained; a process a core, and a thread a process.
ALL = ["-n", "2", "--dist", "loadgroup"] if (os.cpu_count() or 1) > 1 else []

python = ensure()
os.chdir(ROOT)
if not sys.argv[1:]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
replace_by(python, ["-m", "pytest", *(sys.argv[1:] or ALL)])
