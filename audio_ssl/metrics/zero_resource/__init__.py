"""Scores of frames without training: minimal pairs, pairs of words, spoken queries."""
