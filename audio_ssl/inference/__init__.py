"""Models made ready for inference: weights converted and laid out once, in the precision asked for."""

from audio_ssl.inference.prepared import Precision, check_precision, prepare

__all__ = ["Precision", "check_precision", "prepare"]
