"""Metrics of all lists together: how much of the catalogue is ever recommended."""

import numpy as np
import numpy.typing as npt


def coverage(lists: npt.NDArray[np.int32], candidates: npt.NDArray[np.bool_], k: int) -> float:
    """Return the share of the candidates that stand in at least one list of length `k`.

    Ge, Delgado-Battenfeld and Jannach, "Beyond accuracy: evaluating recommender systems by coverage and
    serendipity", RecSys 2010 (catalogue coverage).

    Args:
        lists: (n_queries, at least k) int32 item indices, best first, -1 where a list is shorter.
        candidates: (n_items,) bool, items that may be recommended; at least one.
        k: The cutoff.
    """
    if not 1 <= k <= lists.shape[1]:
        raise ValueError(f"the cutoff k must lie in 1 ... {lists.shape[1]}, the length of the lists, not {k}")
    shown = np.zeros(len(candidates) + 1, np.bool_)  # the last place takes the padding, -1
    shown[lists[:, :k]] = True
    return int(np.count_nonzero(shown[:-1] & candidates)) / int(np.count_nonzero(candidates))
