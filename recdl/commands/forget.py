"""Take users out of prepared logs, and say which runs and bundles have learned from them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from recdl.commands.ingredients import fresh_folder, read_users
from recdl.commands.recording import console
from recdl.data.forgetting import Forgetting, forget_users
from recdl.data.prepared import known_fingerprints
from recdl.data.privacy import find_key
from recdl.errors import ConfigError, DataError
from recdl.schemas import ForgetSettings
from recdl.serving.descendants import Descendant, find_bundles, find_runs
from recdl.signatures import checked_settings
from recdl.storage import write_json

_ADVICE = {"run": "train again, then delete it", "bundle": "export again, then delete it wherever it is"}


def forget(config: Mapping[str, Any]) -> None:
    """Forget users, print what was done and what is to be done, and write that as JSON. No id is in either.

    Args:
        config: As `recdl.config.compose("forget", ...)` gives it.

    Raises:
        RecdlError: If nothing could be done; or, once all else is done and told, if users may still be in a log,
            or a run or bundle cannot be read.
    """
    settings = checked_settings(ForgetSettings, config)
    ids = _ids(settings)
    key = find_key(settings.key_variable, settings.key_file)
    root = Path(settings.prepared_root)
    done = forget_users(root, ids, key=key, folder=Path(settings.prepared) if settings.prepared else None)
    found = [*find_runs(map(Path, settings.runs)), *find_bundles(map(Path, settings.bundles))]
    told = _told(done)
    seen = [one for one in found if one.fingerprint in done.forgotten.logs]
    unknown = [one for one in found if one.fingerprint not in told | done.forgotten.logs]
    fresh = fresh_folder(Path("runs"), "forgetting")
    output = Path(settings.output) if settings.output else fresh / "forgetting.json"
    write_json(output, _report(done, seen, unknown))
    _print(done, seen, unknown)
    roots = (*settings.runs, *settings.bundles)
    looked_in = [root if Path(root).exists() else f"{root} (not there)" for root in roots]
    print(f"looked at {len(found):,} runs and bundles in {', '.join(looked_in)}")
    print(f"figures: {output}")
    problems = sum(one.problem is not None for one in done.logs) + sum(one.problem is not None for one in found)
    if problems:
        raise DataError(f"{problems:,} of the folders above could not be looked into; mend that, and call again")


def _ids(settings: ForgetSettings) -> list[str]:
    if (settings.users is None) == (settings.users_file is None):
        raise ConfigError("give either users=[...] or users_file=FILE; users=[] only finishes what was cut off")
    if settings.users_file is not None:
        return read_users(Path(settings.users_file))
    return [str(user) for user in settings.users or ()]


def _told(done: Forgetting) -> set[str]:
    """Return the fingerprints, past and present, of the logs of which it is known whether they held the users."""
    certain = [one.folder for one in done.logs if one.problem is None and one.state != "removed"]
    return {fingerprint for folder in certain for fingerprint in known_fingerprints(folder)}


def _why(one: Descendant) -> str:
    return one.problem or "its log is not among those above: look where it is prepared"


def _report(done: Forgetting, seen: list[Descendant], unknown: list[Descendant]) -> dict[str, Any]:
    return {
        "users": {"given": done.given, "forgotten_before": done.repeated, "found_in_a_log": done.found},
        "logs": [
            {
                "folder": str(one.folder),
                "state": one.state,
                "users": one.users,
                "events": one.events,
                "users_below_limits": one.users_below_limits,
                "events_below_limits": one.events_below_limits,
                "items": one.items,
                "problem": one.problem,
            }
            for one in done.logs
        ],
        "leftovers_removed": done.leftovers.removed,
        "leftovers_in_use": [str(path) for path in done.leftovers.in_use],
        "have_learned_from_them": [{**_described(one), "to_do": _ADVICE[one.kind]} for one in seen],
        "cannot_be_said": [{**_described(one), "why": _why(one)} for one in unknown],
    }


def _described(one: Descendant) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "folder": str(one.folder),
        "model": one.model,
        "data": one.data,
        "data_fingerprint": one.fingerprint,
    }


def _print(done: Forgetting, seen: list[Descendant], unknown: list[Descendant]) -> None:
    shown = console()
    print(f"users: {done.given:,} given, {done.found:,} of them in a log, {done.repeated:,} forgotten before")
    if done.logs:
        shown.print(_logs_table(done))
    if done.leftovers.removed:
        print(f"removed: {done.leftovers.removed:,} temporary files and folders of preparations that were killed")
    for path in done.leftovers.in_use:
        print(f"in use, and may hold raw ids: {path}")
    if seen:
        rows = [(one, _ADVICE[one.kind]) for one in seen]
        shown.print(_made_table("what has learned from forgotten users", "what to do", rows))
    else:
        print("no run or bundle was found that has learned from forgotten users")
    if unknown:
        rows = [(one, _why(one)) for one in unknown]
        shown.print(_made_table("of which it cannot be said", "why", rows))


def _logs_table(done: Forgetting) -> Table:
    table = Table(title="prepared logs", title_justify="left")
    table.add_column("log", overflow="fold")
    table.add_column("now")
    for heading in ("users gone", "their events", "further users", "further events", "items"):
        table.add_column(heading, justify="right")
    table.add_column("problem", overflow="fold")
    for one in done.logs:
        counts = (one.users, one.events, one.users_below_limits, one.events_below_limits, one.items)
        table.add_row(str(one.folder), one.state, *(f"{n:,}" for n in counts), one.problem or "")
    return table


def _made_table(title: str, heading: str, rows: list[tuple[Descendant, str]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("folder", overflow="fold")
    table.add_column("model")
    table.add_column("log")
    table.add_column(heading, overflow="fold")
    for one, remark in rows:
        table.add_row(one.kind, str(one.folder), one.model, one.data, remark)
    return table
