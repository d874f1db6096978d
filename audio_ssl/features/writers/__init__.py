"""How features are written. A file is a format; each has a ``build(out, part, extraction, sealed)``."""
