"""How much a second of audio costs: multiply-adds of the model of a recipe, counted and not timed.

Counted are the products of a forward pass by torch's own counter, on one clip of ten seconds, and the two products of
attention, two times frames times width for each frame and layer, which the counter leaves out where they are fused.
Left out are Fourier transforms, sums, norms and functions of single numbers: a hundredth of it or less.

Run ``python benchmarks/compute.py small distil_small``: the first recipe is what the others are compared with.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from audio_ssl.models.model import SSLModel
from audio_ssl.pretrain.kinds import masked_prediction
from audio_ssl.pretrain.recipe import load_recipe


def multiply_adds(recipe: str, seconds: float) -> tuple[float, int]:
    """Return multiply-adds a second of a clip of so many seconds, and the parameters."""
    config: Any = load_recipe(recipe)
    # With gradients: products for inference are oneDNN's own, which torch does not count.
    model = SSLModel(masked_prediction.model_config(config)).train()
    samples = round(seconds * config.data.sample_rate)
    with FlopCounterMode(display=False) as counter:
        frames = int(model(torch.randn(1, samples)).lengths[0])
    counted = sum(sum(by.values()) for name, by in counter.get_flop_counts().items() if name == "Global") / 2
    fused = "scaled_dot_product" not in str(counter.get_flop_counts()["Global"])
    attention = 2 * frames * frames * config.encoder.dim * config.encoder.layers if fused else 0
    return (counted + attention) / seconds, sum(parameter.numel() for parameter in model.parameters())


def main() -> None:
    """Print a line for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="+", help="of masked prediction, with a transformer")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clip")
    args = parser.parse_args()
    first: float | None = None
    for recipe in args.recipe:
        found, parameters = multiply_adds(recipe, args.seconds)
        first = first or found
        print(
            f"{recipe:<16} {found / 1e6:8.1f} million multiply-adds a second, {100 * found / first:5.1f} %, "
            f"{parameters / 1e6:.2f} million parameters"
        )


if __name__ == "__main__":
    main()
