"""Features of audio: where they come from, and how they are written."""
