"""Searches for the tokens of a clip, instead of a head's own greedy one."""
