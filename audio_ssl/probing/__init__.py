"""One question of a model: a head trained on frozen features, scored beside the same head on baselines."""
