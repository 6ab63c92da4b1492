"""Metrics of all lists together: how the places in them are spread over the candidates.

Every function takes `Lists` and the cutoff `k`, between 1 and the length of the lists. An item's exposure is the
number of lists of length k that it stands in; what is no candidate does not count.
"""

import numpy as np
import numpy.typing as npt

from recdl.metrics.lists import Lists


def coverage(lists: Lists, k: int) -> float:
    """Return the share of the candidates that stand in at least one list.

    Ge, Delgado-Battenfeld and Jannach, "Beyond accuracy: evaluating recommender systems by coverage and
    serendipity", RecSys 2010 (catalogue coverage).
    """
    exposures = _exposures(lists, k)
    return int(np.count_nonzero(exposures)) / len(exposures)


def gini(lists: Lists, k: int) -> float:
    """Return the Gini coefficient of the exposures: 0 if all candidates have the same, near 1 if one has all.

    With exposures x_1 <= x_2 <= ... of n candidates, sum of (2 i - n - 1) x_i over n sum of x_i; 0 if nothing was
    shown. Gini, "Variabilità e mutabilità", 1912; Fleder and Hosanagar, "Blockbuster culture's next rise or fall",
    Management Science 2009.
    """
    rising = np.sort(_exposures(lists, k))
    n, total = len(rising), int(rising.sum())
    if not total:
        return 0.0
    return float(((2.0 * np.arange(1, n + 1) - n - 1) * rising).sum() / (n * total))


def entropy(lists: Lists, k: int) -> float:
    """Return Shannon's entropy of the exposures in bits: 0 if one item has all, the more the evener they are.

    With the share p of all places that an item has, the sum of -p log2(p). Shannon, "A mathematical theory of
    communication", 1948; as a measure of aggregate diversity: Szpektor, Maarek and Pelleg, "When relevance is not
    enough", WWW 2013.
    """
    exposures = _exposures(lists, k)
    shown = exposures[exposures > 0] / max(int(exposures.sum()), 1)
    return float(-(shown * np.log2(shown)).sum()) + 0.0  # and not minus zero


def _exposures(lists: Lists, k: int) -> npt.NDArray[np.int64]:
    """Return how many lists each candidate stands in."""
    return lists.exposures(k)[lists.candidates]
