"""Numbers from the papers' own training code (``tests/golden``), and how closely ours must agree with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parent / "golden"
STATES = 1e-5
LOSS = 1e-5
GRADIENTS = 1e-5
ROUNDING = 1e-6
"""A gradient whose norm is below this share of the norm of all is zero but for rounding, and so must ours be."""


@dataclass(frozen=True)
class Golden:
    """One file: its tensors by name, and what its JSON says."""

    tensors: dict[str, Tensor]
    about: dict[str, Any]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with ``prefix/``, without it."""
        start = f"{prefix}/"
        return {name.removeprefix(start): value for name, value in self.tensors.items() if name.startswith(start)}

    @property
    def weights(self) -> dict[str, Tensor]:
        """The reference's parameters, by its own names."""
        return self.under("weight")


def golden(name: str) -> Golden:
    """Return a file of ``tests/golden``; ``README.md`` there says what its tensors are."""
    about = json.loads((FOLDER / f"{name}.json").read_text())
    return Golden(load_file(FOLDER / f"{name}.safetensors"), about)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Return the norm of the difference over the norm of the reference."""
    assert ours.shape == theirs.shape, (tuple(ours.shape), tuple(theirs.shape))
    ours, theirs = ours.detach().double(), theirs.detach().double()
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-30))


def assert_gradients(
    ours: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    tolerance: float = GRADIENTS,
    loose: Mapping[str, float] = {},
) -> float:
    """Compare gradients by name, all of them; return the largest difference.

    Parameters
    ----------
    ours, theirs
        Of the same names; of a large tensor `theirs` holds ``NAME.norm`` and ``NAME.first16`` instead.
    tolerance
        Largest relative difference of a parameter.
    loose
        Parameters with a tolerance of their own.
    """
    names = {name.removesuffix(".norm").removesuffix(".first16") for name in theirs}
    assert set(ours) == names, (sorted(set(ours) - names), sorted(names - set(ours)))
    total = torch.stack(
        [(value if not name.endswith(".first16") else value[:0]).double().norm() for name, value in theirs.items()]
    )
    everything, worst = float(total.norm()), 0.0
    for name, mine in ours.items():
        if name not in theirs:
            # A norm in float32, as theirs is: of 262,144 numbers it is 1.3e-5 off the true one.
            norm = mine.float().norm().double()
            found = max(
                float((norm - theirs[f"{name}.norm"].double()).abs() / theirs[f"{name}.norm"].double()),
                difference(mine.flatten()[:16], theirs[f"{name}.first16"]),
            )
        elif float(theirs[name].double().norm()) < ROUNDING * everything:
            assert float(mine.double().norm()) < 10 * ROUNDING * everything, f"{name} should be zero but for rounding"
            continue
        else:
            found = difference(mine, theirs[name])
        assert found < loose.get(name, tolerance), f"{name}: {found:.1e}"
        worst = max(worst, found)
    return worst
