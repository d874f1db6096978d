"""Readers of predictions, one format per file. Each yields rows with the columns under our names."""
