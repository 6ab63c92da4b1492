#!/usr/bin/env python3
"""Do everything, from nothing: install recdl into .venv, train models and baselines on one log, compare them.

Arguments are those of benchmark.py: `main_job.py data=csv data.path=log.csv`; `main_job.py --help` lists them.
Unlike benchmark.py it runs each model with one seed, unless `seeds=` says more: a first look takes minutes.
"""

import sys

from environment import ROOT, ensure, replace_by

given = sys.argv[1:]
seeds = [] if any(argument.startswith("seeds=") for argument in given) else ["seeds=1"]
replace_by(ensure("complete-journey"), [str(ROOT / "scripts" / "benchmark.py"), *seeds, *given])
