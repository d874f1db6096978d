"""Encoders of other libraries that are not read natively: a file each, of the form that a user's own file has."""
