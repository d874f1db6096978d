"""How right the times of words are: a CTC head's alignment of the right transcripts beside known times of words.

The test clips' transcripts are aligned to the head's probabilities, as `predict` does with what it recognises, so that
each word has a partner. ``python benchmarks/word_times.py RESULT`` prints the errors of starts and ends in milliseconds
and writes them to ``--out``, if it is given. The manifest of the probe must have the column ``word_times``, as
synthetic speech has.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from audio_ssl.base.files import write_json
from audio_ssl.data.audio import read_clip
from audio_ssl.data.manifest import Clip, read_manifest
from audio_ssl.data.time_columns import timed_labels
from audio_ssl.probing.features import LayerBatch
from audio_ssl.probing.head import CTCHeadBase
from audio_ssl.probing.layer_heads import LayerStatistics
from audio_ssl.probing.task import HeadOutput
from audio_ssl.probing.trained import TrainedProbe, open_result


def main() -> None:
    """Align, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    opened = open_result(options.result)
    data = opened.question.data
    clips = [one for one in read_manifest(Path(data.manifest or "")) if one.split == data.test_split]
    rng = np.random.default_rng(0)
    chosen = [clips[place] for place in sorted(rng.permutation(len(clips))[: options.clips].tolist())]
    starts, ends, left_out = [], [], 0
    for clip in chosen:
        known = sorted(timed_labels(str(clip.extra["word_times"]), str, str))
        found = aligned(opened, clip)
        if len(known) != len(found):
            left_out += 1
            continue
        starts += [after[0] - before[0] for before, after in zip(known, found, strict=True)]
        ends += [after[1] - before[1] for before, after in zip(known, found, strict=True)]
    measured = {
        "clips": len(chosen) - left_out,
        "words": len(starts),
        "start_ms": errors(starts),
        "end_ms": errors(ends),
    }
    print(measured)
    if options.out is not None:
        write_json(options.out, measured)


def aligned(opened: TrainedProbe, clip: Clip) -> list[tuple[float, float]]:
    """Return start and end of each word of a clip's transcript."""
    head = opened.system.head
    assert isinstance(head, CTCHeadBase), "times are those of CTC heads"
    waveform = torch.as_tensor(read_clip(clip, opened.source.grid.sample_rate))[None]
    with torch.inference_mode():
        layers, frames = opened.source(waveform, torch.tensor([waveform.shape[1]]))
        batch = LayerBatch(torch.stack([layers[number] for number in opened.layers]), frames)
        statistics = LayerStatistics(opened.system.mean, opened.system.scale)
        (row,) = head.log_probabilities(opened.system.batch(statistics.standardise(batch)))
    found = opened.task.clip_prediction(clip, HeadOutput(opened.task.target(clip), opened.source.grid, row))
    return [(word.start, word.end) for word in found.words or ()]


def errors(seconds: list[float]) -> dict[str, float]:
    """Return the median of differences, and the median and the 90th percentile of their sizes, in milliseconds."""
    given = 1000 * np.array(seconds)
    sizes = np.abs(given)
    shown = {
        "median": np.median(given),
        "median_size": np.median(sizes),
        "size_90": np.sort(sizes)[int(0.9 * (len(sizes) - 1))],
    }
    return {name: round(float(value), 1) for name, value in shown.items()}


if __name__ == "__main__":
    main()
