"""Scores of predictions, and intervals around them."""
