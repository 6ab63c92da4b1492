"""RecTools: rank all items for all users from factors, and compute its metrics at every cutoff."""

import argparse
import json
import time
import warnings

import numpy as np
import pandas as pd
import torch
from factors import CUTOFFS, best_of, read_task
from rectools import metrics as peer
from rectools.models.rank import Distance, TorchRanker
from scipy.sparse import csr_matrix

_METRICS = (peer.HitRate, peer.Recall, peer.Precision, peer.F1Beta, peer.MRR, peer.MAP)


def main() -> None:
    """Time the ranker and the metrics, and print one JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("task", help="the folder that evaluation.py has written it to")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--chunk", type=int, default=512)
    arguments = options.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    given = read_task(arguments.task)
    n_users = len(given.users)
    ones = np.ones(len(given.history), np.float32)
    seen = csr_matrix((ones, given.history, given.offsets), shape=(n_users, len(given.items)))
    asked = pd.DataFrame({"user_id": np.arange(n_users), "item_id": given.targets, "weight": 1.0, "datetime": 0})
    wanted = {f"{kind.__name__}@{k}": kind(k) for kind in _METRICS for k in CUTOFFS}
    # Over the largest DCG that the targets allow, as recdl does; by default RecTools divides by that of k targets.
    wanted |= {f"NDCG@{k}": peer.NDCG(k, divide_by_achievable=True) for k in CUTOFFS}

    def work() -> dict[str, float]:
        started = time.perf_counter()
        ranker = TorchRanker(Distance.DOT, "cpu", given.users, given.items, batch_size=arguments.chunk)
        users, items, scores = ranker.rank(np.arange(n_users), k=max(CUTOFFS), filter_pairs_csr=seen)
        ranked = time.perf_counter()
        lists = pd.DataFrame({"user_id": users, "item_id": items, "score": scores})
        lists["rank"] = lists.groupby("user_id", sort=False).cumcount() + 1
        figures = peer.calc_metrics(wanted, reco=lists, interactions=asked)
        parts = {"ranking": ranked - started, "metrics": time.perf_counter() - ranked}
        return parts | {f"ndcg@{k}": float(figures[f"NDCG@{k}"]) for k in CUTOFFS}

    print(json.dumps(best_of(arguments.repeats, work)), flush=True)


if __name__ == "__main__":
    main()
