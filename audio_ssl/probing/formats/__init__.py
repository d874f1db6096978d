"""Formats of predictions, one file each; `audio_ssl.probing.format` says what a file must have."""
