"""The frame of every verb: read the command line, check everything, do the work, say what went wrong, exit."""

import gc
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from recdl.commands.clock import stamp
from recdl.commands.resuming import asked_to_resume, resumed_config
from recdl.config import CONFIGS, compose_unchecked, resolve
from recdl.errors import ConfigError, RecdlError

if TYPE_CHECKING:
    from omegaconf import DictConfig

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""
TERMINATED = 143
"""Exit status after SIGTERM."""

_HYDRA_TARGETS = ("hydra._internal.core_plugins.", "hydra.experimental.callbacks.", "hydra_plugins.")
_BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
_BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
_POSITIONAL = {"compare": "runs"}
_RENAMED = {"compare": ("sweep=", "search=")}
"""What Hydra would take for the choice of a file in the group of that name, and what it stands for."""


def run_verb(verb: str) -> None:
    """Run a verb with the command line of this process, and exit: with status 0 only if all of it succeeded.

    The whole configuration, of a sweep every point, is composed and checked before any work starts. Only then the
    verb's module, and all that it needs, is imported: a misspelt key is told at once.
    """
    gc.disable()  # until the verb works, see `_work_of`
    try:
        exit_with_status(lambda: _run(verb))
    finally:
        gc.enable()


def exit_with_status(work: Callable[[], Any]) -> None:
    """Do the work, say what went wrong if something did, and exit: with status 0 only if all of it succeeded.

    A whole number that `work` returns is the status. Being told to end (by a scheduler, or `timeout`) unwinds the
    work as Ctrl-C does, so that half-written files and other processes go too.
    """
    handler = signal.signal(signal.SIGTERM, _terminate)
    try:
        result = work()
        sys.exit(result if isinstance(result, int) else 0)
    except (RecdlError, OSError) as error:  # OSError: a full disk, a folder that may not be written to
        complain(error)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted: nothing that was under way is taken for whole", file=sys.stderr)
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, handler)


def _terminate(*_: Any) -> None:
    sys.exit(TERMINATED)


def complain(error: Exception) -> None:
    """Tell the user what went wrong."""
    print(f"error: {error}", file=sys.stderr, flush=True)


def added_folder() -> Path | None:
    """Return the folder of the user's own YAML files that the command line added with --config-dir, if it did."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return None
    sources = HydraConfig.get().runtime.config_sources
    return next((Path(source.path) for source in sources if source.provider == "command-line"), None)


def _run(verb: str) -> int:
    import hydra
    from hydra._internal.utils import get_args_parser  # the grammar of the command line is Hydra's own
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("sweep_folder", _sweep_folder, replace=True)
    _refuse_options(sys.argv[1:], get_args_parser())
    given, meant = _RENAMED.get(verb, ("", ""))
    renamed = [meant + one.removeprefix(given) if given and one.startswith(given) else one for one in sys.argv[1:]]
    sys.argv[1:] = _in_order(renamed, key=_POSITIONAL.get(verb))
    arguments = get_args_parser().parse_args()
    if verb == "train" and (folder := asked_to_resume(arguments.overrides)) and _works(arguments):
        _resume(Path(folder), arguments)
        return 0
    sweep = _check(verb, arguments) if _works(arguments) else None
    if sweep is not None and verb != "train":
        raise ConfigError(f"--multirun: {verb} cannot sweep; train can")
    failures: list[Exception] = []

    def perform(composed: "DictConfig") -> Any:
        # Left to Hydra, an error would come with a trace of its insides.
        try:
            return _perform(verb, composed)
        except (RecdlError, OSError) as error:
            failures.append(error)
            if sweep is not None:
                complain(error)  # and go on with the other points
            return None

    status = 0
    try:
        hydra.main(config_path=str(CONFIGS), config_name=verb, version_base="1.3")(perform)()
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else 1
    if sweep is None and failures:
        raise failures[0]
    if sweep is not None:
        from recdl.commands.points import check_finished, report_sweep

        report_sweep(sweep.folder)
        if sweep.n_points_apart is not None:
            check_finished(sweep.folder, sweep.n_points_apart)
    return status or int(bool(failures))


def _resume(folder: Path, arguments: Namespace) -> None:
    """Go on with a run that was cut off: with its configuration, which is composed of nothing."""
    if arguments.multirun:
        raise ConfigError("resume: goes on with one run; a sweep is no run: resume its points, or start it again")
    config = resumed_config(folder, arguments.overrides)
    _work_of("train")(config)


def _refuse_options(given: Sequence[str], parser: ArgumentParser) -> None:
    """Say how a setting is given where it was given as an option."""
    known = {option for action in parser._actions for option in action.option_strings}
    for argument in given:
        name = argument.partition("=")[0]
        if argument.startswith("--") and len(name) > 2 and not any(one.startswith(name) for one in known):
            raise ConfigError(f"{argument}: is no option; settings are given as {name.lstrip('-')}=value")


def _in_order(arguments: Sequence[str], *, key: str | None) -> list[str]:
    """Put the overrides before the options, between which Hydra would not find them.

    Args:
        arguments: The command line.
        key: Setting that arguments without a key become a list of: `runs/a runs/b` is `runs=['runs/a','runs/b']`.
    """
    from hydra._internal.utils import get_args_parser

    overrides: list[str] = get_args_parser().parse_intermixed_args(list(arguments)).overrides
    options = list(arguments)
    for override in overrides:
        options.remove(override)
    if key is not None:
        keyless = [given for given in overrides if "=" not in given or Path(given).is_dir()]
        if keyless:
            quoted = ",".join("'" + given.replace("'", "\\'") + "'" for given in keyless)
            overrides = [*(given for given in overrides if given not in keyless), f"{key}=[{quoted}]"]
    return [*overrides, *options]


def _works(arguments: Namespace) -> bool:
    """Whether the command line asks for work, not only for help or to be shown the configuration."""
    if arguments.config_path is not None:
        raise ConfigError("--config-path: recdl needs its own YAML files; add yours with --config-dir")
    if arguments.experimental_rerun is not None:
        raise ConfigError("--experimental-rerun: reads a pickle, which can execute anything; give the overrides")
    return not (
        arguments.help or arguments.hydra_help or arguments.shell_completion or arguments.cfg or arguments.info
    )


def _perform(verb: str, composed: "DictConfig") -> Any:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    config = resolve(verb, composed, choices=hydra.runtime.choices)
    if hydra.mode == RunMode.MULTIRUN:
        config["run_dir"] = str(Path(hydra.sweep.dir, hydra.sweep.subdir))
        print(f"\npoint {hydra.job.num}: {' '.join(hydra.overrides.task)}", flush=True)
    return _work_of(verb)(config)


def _work_of(verb: str) -> Callable[[Mapping[str, Any]], Any]:
    """Return what a verb does, all that it needs imported, and let Python look for garbage from here on.

    Modules leave none, and looking through them again and again takes a quarter of the time of their imports.
    """
    work: Callable[[Mapping[str, Any]], Any] = getattr(import_module(f"recdl.commands.{verb}"), verb)
    gc.enable()
    return work


class _Sweep(NamedTuple):
    """A sweep's folder, and of one whose points run in other processes, which tell nothing, how many there are."""

    folder: Path
    n_points_apart: int | None


def _check(verb: str, arguments: Namespace) -> _Sweep | None:
    """Check the whole configuration, of a sweep at every point; return the sweep if it is one."""
    from hydra.types import RunMode

    folder = Path(arguments.config_dir) if arguments.config_dir else None
    name = arguments.config_name or verb
    fixed, swept = _overrides(arguments.overrides)
    composed = compose_unchecked(name, fixed, folder=folder)
    check_hydra(composed.hydra, key="hydra")
    if not arguments.multirun and composed.hydra.mode != RunMode.MULTIRUN:
        if swept:  # a sweep without --multirun, which Hydra explains
            composed = compose_unchecked(name, arguments.overrides, folder=folder)
        resolve(verb, composed, choices=composed.hydra.runtime.choices)
        return None
    sweep = Path(composed.hydra.sweep.dir)
    if composed.hydra.sweeper._target_ != _BASIC_SWEEPER:
        return _Sweep(sweep, None)  # another sweeper finds its points one after the other
    own = [f"{key}={value}" for key, value in (composed.hydra.sweeper.get("params") or {}).items()]
    n_points = 0
    apart = composed.hydra.launcher._target_ != _BASIC_LAUNCHER
    for point in _points([*own, *fixed, *swept]):
        composed = compose_unchecked(name, point, folder=folder)
        resolve(verb, composed, choices=composed.hydra.runtime.choices)
        n_points += 1
    return _Sweep(sweep, n_points if apart else None)


def _overrides(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell overrides with one value from those that sweep over several."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    fixed, swept = list[str](), list[str]()
    for override in given:
        try:
            sweeps = OverridesParser.create().parse_override(override).is_sweep_override()
        except HydraException as error:
            quote = "" if override.isascii() else "; text beyond ASCII wants quotes: 'key=[\"...\"]'"
            raise ConfigError(f"{override}: is no override such as key=value{quote}: {error}") from error
        (swept if sweeps else fixed).append(override)
    return fixed, swept


def _points(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Yield the overrides of each point that Hydra's basic sweeper will run."""
    from hydra import initialize_config_dir
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        parser = OverridesParser.create(GlobalHydra.instance().config_loader())
        try:
            batches = BasicSweeper.split_arguments(parser.parse_overrides(list(overrides)), max_batch_size=None)
        except HydraException as error:
            raise ConfigError(str(error)) from error
    for batch in batches:
        yield from batch


def check_hydra(node: Any, *, key: str) -> None:
    """Refuse to let Hydra itself, or Python's logging, construct what a configuration names.

    Hydra instantiates its callbacks, launcher and sweeper before any verb starts: a second door beside `build`.
    """
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(node, resolve=False)
    for full, value in _leaves(plain, key):
        last = full.rpartition(".")[2]
        if last == "_target_" and not str(value).startswith(_HYDRA_TARGETS):
            raise ConfigError(f"{full}: {value!r} is not allowed here: only Hydra's own plugins are")
        if last == "()" or (last == "class" and not str(value).startswith("logging.")):
            raise ConfigError(f"{full}: {value!r} is not allowed here: only classes of logging are")


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for name, inner in node.items():
            yield from _leaves(inner, f"{key}.{name}")
    elif isinstance(node, list):
        for inner in node:
            yield from _leaves(inner, key)
    else:
        yield key, node


def _sweep_folder(run_dir: str | None) -> str:
    return run_dir or f"runs/{stamp()}-sweep"
