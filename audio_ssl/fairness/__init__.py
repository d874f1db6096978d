"""Differences between groups of speakers, with the statistics that speakers, not clips, allow."""
