"""Ways to damage a file."""

import os


def cut(path, left=0.5):
    """Take away the end of a file."""
    os.truncate(path, int(path.stat().st_size * left))


def flip(path):
    """Change a byte near the end of a file."""
    data = bytearray(path.read_bytes())
    data[-20] ^= 0xFF
    path.write_bytes(data)
