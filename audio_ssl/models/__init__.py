"""Waveform models: frontends, encoders, and what computes them faster (`fast/`)."""
