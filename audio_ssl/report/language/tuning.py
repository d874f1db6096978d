"""Sentences about what was trained of a model: nothing, adapters, or its own weights; and what each costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audio_ssl.report.numbers import number

if TYPE_CHECKING:
    from audio_ssl.report.inputs import Tuning
    from audio_ssl.report.probe_summary import ProbeSummary

HEADING = "Frozen, adapted, fine-tuned"
CAPTION = "What each way of using a model trains, and what it takes"
NOTES = (
    "Frozen: the head alone is trained. LoRA: low-rank adapters of linear layers are trained as well, and are merged "
    "into the weights for use, so a prediction costs the same. Fine-tuned: the model's own weights are trained, too.",
    "Time is that of extraction, training and prediction together. Memory is the peak of the whole process, which can "
    "be compared where each result was made by a command of its own on the same machine.",
)
_NAMES: dict[Tuning, str] = {"frozen": "frozen", "lora": "LoRA", "full": "fine-tuned"}


def tuned_name(model: str, tuning: Tuning) -> str:
    """Name a model beside itself, by what was trained of it.

    Examples
    --------
    >>> tuned_name("small", "lora"), tuned_name("small", "frozen")
    ('small (LoRA)', 'small (frozen)')
    """
    return f"{model} ({_NAMES[tuning]})"


def traded(adapted: ProbeSummary, full: ProbeSummary, title: str) -> str:
    """Say what adapters save over full fine-tuning; empty where the costs are not recorded."""
    ours, theirs = adapted.systems[0].cost, full.systems[0].cost
    if ours is None or theirs is None or not ours.model_parameters or not theirs.model_parameters:
        return ""
    share = 100 * ours.model_parameters / theirs.model_parameters
    said = [f"On {title}, LoRA trains {number(share, 2)} % as many weights of the model as full fine-tuning"]
    if ours.fit_seconds > 0 and theirs.fit_seconds > 0:
        said.append(f"takes {number(ours.fit_seconds / theirs.fit_seconds, 2)} times its training time")
    if ours.peak_memory_bytes and theirs.peak_memory_bytes:
        said.append(f"needs {number(ours.peak_memory_bytes / theirs.peak_memory_bytes, 2)} times its memory")
    return f"{said[0]}." if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}."
