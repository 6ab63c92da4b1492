"""Floor 3: the Recommender protocol, ranking, the baselines and the networks."""
