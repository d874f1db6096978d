"""What tasks and heads of frames share."""

from __future__ import annotations

IGNORED = -100
"""Class of a frame that has no answer; it is left out of losses (torch's own default)."""
