"""Frames to hidden layers. A file is a kind; each has a ``Config`` and a ``build(config, input_dim)``."""
