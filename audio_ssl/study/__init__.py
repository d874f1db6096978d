"""Studies of pretraining data: the same recipe on sets drawn to a plan, the same questions of each, one table."""
