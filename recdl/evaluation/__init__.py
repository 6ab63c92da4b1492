"""Floor 5: evaluation of any recommender, run records, significance and reports."""
