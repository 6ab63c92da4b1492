"""Floor 6: bundles and recommendations from them."""
