"""Predictions as people store them, one format a file; each yields rows of the columns that we call by our names."""
