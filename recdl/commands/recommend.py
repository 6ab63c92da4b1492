"""Recommend items with a bundle."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recdl.commands.ingredients import find_prepared, read_users
from recdl.config import build_model
from recdl.data.prepared import PreparedLog
from recdl.data.privacy import find_key
from recdl.data.queries import Queries
from recdl.data.sessions import latest_sessions
from recdl.data.vocabulary import UNKNOWN
from recdl.errors import ConfigError, DataError
from recdl.models import ranking
from recdl.schemas import RecommendSettings
from recdl.serving.bundle import Bundle, read_bundle
from recdl.serving.histories import known_user_queries, read_histories
from recdl.serving.recommendations import (
    check_recommendations_path,
    recommendation_table,
    write_recommendations,
)
from recdl.signatures import checked_settings


def recommend(config: Mapping[str, Any]) -> None:
    """Write the best items for each user as CSV or Parquet, or print them as CSV.

    Args:
        config: As `recdl.config.compose("recommend", ...)` gives it.

    Raises:
        RecdlError: If the bundle, the log or a file of users or histories cannot be used as it is.
    """
    settings = checked_settings(RecommendSettings, config)
    if (settings.users is None) == (settings.histories is None):
        raise ConfigError("give either users=... (of the log) or histories=FILE (of anyone)")
    output = Path(settings.output) if settings.output else None
    if output is not None:
        check_recommendations_path(output)
    bundle = read_bundle(Path(settings.bundle))
    model = build_model(bundle.model, extras={"seed": bundle.seed}).set_state(bundle.state)
    queries, query_ids = _queries(settings, bundle)
    n_candidates = int(bundle.candidates.sum())
    if settings.k > n_candidates:
        print(f"k={settings.k}: there are {n_candidates:,} items to recommend, and no more", file=sys.stderr)
    excluded = bundle.exclude_history if settings.exclude_history is None else settings.exclude_history
    items, scores = ranking.recommend(
        model, queries, k=settings.k, candidates=bundle.candidates, exclude_history=excluded
    )
    table = recommendation_table(query_ids, items, scores, bundle.items)
    if output is None:
        table.to_csv(sys.stdout, index=False)
    else:
        write_recommendations(table, output)
        print(output)


def _queries(settings: RecommendSettings, bundle: Bundle) -> tuple[Queries, npt.NDArray[np.object_]]:
    if settings.histories is not None:
        read = read_histories(Path(settings.histories), items=bundle.items, behavior_names=bundle.behavior_names)
        if read.n_unknown_items:
            left_out = f"{read.n_unknown_items:,} of {read.n_events:,} events are of items the model does not know"
            print(f"{left_out}: left out", file=sys.stderr)
        if len(read.without_history):
            without = f"{len(read.without_history):,} of {len(read.query_ids):,} visitors have no known item"
            print(f"{without}: they get what a visitor without history gets", file=sys.stderr)
        return read.queries, read.query_ids
    log = _log(settings, bundle)
    names = _names_in_log(_users(settings), log, settings)
    queries = known_user_queries(list(names), bundle.users, log.interactions)
    ids = np.array(list(names.values()), np.object_)
    sessions = bundle.manifest["run"]["split"]["settings"].get("sessions")
    if sessions is not None:  # the model knows sessions, and none by its user
        queries = latest_sessions(log.interactions, queries.users, sessions)
    return queries, ids


def _log(settings: RecommendSettings, bundle: Bundle) -> PreparedLog:
    """Open the log that the bundle's model was trained on, which a bundle does not hold."""
    data = bundle.manifest["run"]["data"]
    root = Path(settings.prepared_root)
    folder = Path(settings.prepared) if settings.prepared else find_prepared(root, fingerprint=data["fingerprint"])
    if folder is None:
        raise DataError(
            f"the histories of known users are in the log {data['name']!r}, which is not prepared in {root}; give "
            "prepared=FOLDER of that log, or histories=FILE"
        )
    log = PreparedLog.open(folder)
    bundle.check_log(log)
    return log


def _names_in_log(given: list[str], log: PreparedLog, settings: RecommendSettings) -> dict[str, str]:
    """Return what each given id is in the log, and as what it was given: by the key where users are pseudonyms.

    Raises:
        DataError: If users are pseudonyms, and the key to find a raw id by is missing or another one.
    """
    privacy = log.manifest.get("settings", {}).get("privacy", {})
    strangers = set(np.array(given)[log.users.indices(given) == UNKNOWN].tolist())
    if not strangers or "user" not in privacy.get("pseudonyms", ()):
        return {one: one for one in given}
    key = find_key(settings.key_variable, settings.key_file)
    if key is None or key.check != privacy.get("key_check"):
        which = "there is no key" if key is None else "the key is another one"
        raise DataError(
            f"{len(strangers):,} of {len(given):,} user ids are no pseudonyms of the log, and {which} to find raw"
            " ids by; give the key that the log was prepared with by key_variable or key_file"
        )
    shown = (one if one not in strangers else key.pseudonyms("user", [one])[0] for one in given)
    return dict(zip(shown, given, strict=True))


def _users(settings: RecommendSettings) -> list[str]:
    given = settings.users
    if isinstance(given, str) and Path(given).suffix.lower() in (".csv", ".parquet"):
        return read_users(Path(given))
    return [str(user) for user in (given if isinstance(given, tuple) else (given,))]
