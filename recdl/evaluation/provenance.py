"""What a run ran on: library versions, hardware, command line, the state of the code, peak memory."""

import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import recdl

_LIBRARIES = (
    "torch",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "ibis-framework",
    "duckdb",
    "safetensors",
)
_TIMEOUT_SECONDS = 10


def versions() -> dict[str, str]:
    """Return the versions of Python, recdl and the installed libraries that can move a figure."""
    found = {"python": platform.python_version(), "recdl": recdl.__version__}
    for library in _LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Return the platform, the processor, the memory in bytes and the names of the GPUs; no host or user name.

    GPUs are listed only if torch is loaded already: importing it here would cost seconds in every other verb.
    """
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "n_cpus": _n_cpus(),
        "memory_bytes": _memory_bytes(),
        "gpus": _gpus(),
    }


def command_line() -> list[str]:
    """Return the command line as given; of an absolute path to the program itself only the last part."""
    program, *arguments = sys.argv or [""]
    return [Path(program).name if Path(program).is_absolute() else program, *arguments]


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit checked out around `folder` and whether tracked files differ from it, or None."""
    commit = _output("git", "-C", str(folder), "rev-parse", "--verify", "HEAD")
    if not commit:
        return None
    status = _output("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def peak_memory() -> dict[str, int | None]:
    """Return the most memory this process has held so far, in bytes; None where the system does not say."""
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "resident_bytes": _peak_resident_bytes(),
        "gpu_bytes": int(torch.cuda.max_memory_allocated()) if torch is not None and on_gpu else None,
    }


def _peak_resident_bytes() -> int | None:
    try:
        import resource
    except ImportError:  # Windows has no such module
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024  # macOS counts bytes, Linux KiB


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    brand = _output("sysctl", "-n", "machdep.cpu.brand_string") if sys.platform == "darwin" else None
    return brand or platform.processor() or platform.machine()


def _n_cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux tells what this process may use
        return os.cpu_count() or 1


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _gpus() -> list[str]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _output(program: str, *arguments: str) -> str | None:
    """Return what a program prints, or None if it is missing, fails or takes too long."""
    path = shutil.which(program)
    if path is None:
        return None
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # looking must not disturb a git command of the user's
    try:
        done = subprocess.run(  # noqa: S603  # fixed programs, no shell
            [path, *arguments], capture_output=True, timeout=_TIMEOUT_SECONDS, check=True, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip()
