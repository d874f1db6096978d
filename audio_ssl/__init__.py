"""A speech and music representation suite: waveform models, teachers, pretraining, probes, fairness."""

from importlib.metadata import version

__version__ = version("audio-ssl")
