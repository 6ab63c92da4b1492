"""The project's virtual environment: made when it is missing, used by every script. Standard library only.

Python versions too old for recdl read this file too, so that they can say so.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv"
PYTHON = FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = FOLDER / "recdl-installed"
OLDEST, TOO_NEW = (3, 11), (3, 14)


def run_verb(verb):
    """Run a verb of recdl in a Python that has it: this one, or that of the virtual environment."""
    if importlib.util.find_spec("recdl") is None:
        if STAMP.is_file() and Path(sys.prefix).resolve() != FOLDER.resolve():
            replace_by(PYTHON, sys.argv)
        sys.exit(
            f"error: recdl is not installed in this Python ({sys.executable}).\n"
            "Run `python3 scripts/main_job.py` once, which installs it into .venv, or `pip install -e .` yourself."
        )
    from recdl.commands import run

    run(verb)


def ensure(*extras):
    """Make the virtual environment and install recdl into it, unless that was done for this very version.

    Args:
        extras: Extras to install with it, beside those that are there already.

    Returns:
        The Python of the environment.
    """
    version, installed = _fingerprint(), []
    if STAMP.is_file():
        stamp, *installed = STAMP.read_text(encoding="utf-8").split()
        if stamp == version and set(extras) <= set(installed) and _works(PYTHON):
            return PYTHON
    wanted = sorted({*extras, *installed})
    base = _suitable_python()
    if not _works(PYTHON):
        print("making a virtual environment in", FOLDER, flush=True)
        _run(
            [base, "-m", "venv", "--clear", str(FOLDER)],
            "the virtual environment could not be made. On Debian or Ubuntu: apt install python3-venv",
        )
    STAMP.unlink(missing_ok=True)
    print("installing recdl and what it needs; the first time this takes a few minutes", flush=True)
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install"]
    _run(
        [
            *pip,
            "--constraint",
            str(ROOT / "constraints.txt"),
            "--editable",
            f"{ROOT}[{','.join(wanted)}]",
        ],
        "the install failed; pip's own message is above. Is there a network, and about 3 GB of disk? What was "
        "fetched is kept: run the same command again.\nFor a start from nothing delete " + str(FOLDER) + " first.",
    )
    STAMP.write_text(" ".join([version, *wanted]), encoding="utf-8")
    return PYTHON


def replace_by(python, arguments):
    """Replace this process by another Python running `arguments`."""
    command = [str(python), *arguments]
    if os.name == "nt":  # where exec would give the prompt back before the work is done
        sys.exit(subprocess.run(command).returncode)
    os.execv(command[0], command)


def _fingerprint():
    """What was installed, from where, for which Python: when one changes, it is installed again."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _suitable_python():
    if OLDEST <= sys.version_info[:2] < TOO_NEW:
        return sys.executable
    names = [f"python3.{minor}" for minor in range(TOO_NEW[1] - 1, OLDEST[1] - 1, -1)]
    for name in names:
        found = shutil.which(name)
        if found and _works(found):
            return found
    sys.exit(
        f"error: recdl needs Python 3.{OLDEST[1]} to 3.{TOO_NEW[1] - 1}; this is {sys.version.split()[0]} "
        f"({sys.executable}), and none of {', '.join(names)} was found. Install one, from your "
        "system's packages or https://www.python.org/downloads, and run this script with it."
    )


def _works(python):
    try:
        done = subprocess.run([str(python), "-c", ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return done.returncode == 0


def _run(command, complaint):
    try:
        status = subprocess.run(command).returncode
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        sys.exit(f"error: {error}")
    if status:
        sys.exit(f"error: {complaint}")
