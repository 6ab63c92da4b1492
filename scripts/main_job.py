#!/usr/bin/env python3
"""Do everything, from nothing: install recdl into .venv, train five models on one log, compare them.

Arguments are those of benchmark.py: `main_job.py data=csv data.path=log.csv`; `main_job.py --help` lists them.
"""

import sys

from environment import ROOT, ensure, replace_by

replace_by(ensure("complete-journey"), [str(ROOT / "scripts" / "benchmark.py"), *sys.argv[1:]])
