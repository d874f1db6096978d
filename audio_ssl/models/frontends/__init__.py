"""Waveform to frames. A file is a kind; each has a ``Config`` and a ``build(config, sample_rate)``."""
