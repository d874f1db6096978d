"""Pretraining: recipes, the training loop, targets, checkpoints."""
