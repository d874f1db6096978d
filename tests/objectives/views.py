"""Views of made-up micro-batches, and their parts: losses and gradients must be sums over clips."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audio_ssl.pretrain.view import ModelShape, View


def shape(dim: int, feature_dim: int) -> ModelShape:
    """Return the shape of a model of three layers, as `make_view` has by default."""
    return ModelShape(dim, feature_dim, layers=3)


def make_view(
    lengths: tuple[int, ...] = (40, 33, 21),
    dim: int = 16,
    feature: int = 12,
    layers: int = 3,
    targets: Tensor | None = None,
    masked: bool = True,
    step: int = 0,
    seed: int = 0,
) -> View:
    """Return a view with spans masked in every clip; what lies past a clip is zero in `hidden` and `features`."""
    random = torch.Generator().manual_seed(seed)
    batch, total = len(lengths), max(lengths)
    frames = torch.tensor(lengths)
    inside = torch.arange(total) < frames[:, None]
    hidden = [torch.randn(batch, total, dim, generator=random) * inside[..., None] for _ in range(layers + 1)]
    features = torch.randn(batch, total, feature, generator=random) * inside[..., None]
    mask = (torch.rand(batch, total, generator=random) < 0.5) & inside if masked else None
    keys = tuple(range(1000, 1000 + batch))
    return View(hidden, features, frames, mask, targets, random, step, keys)


def rows(view: View, *clips: int) -> View:
    """Return some clips of a view, cut to the longest of them."""
    index = torch.tensor(clips)
    frames = view.frames[index]
    total = int(frames.max())
    return View(
        [state[index, :total] for state in view.hidden],
        view.features[index, :total],
        frames,
        None if view.mask is None else view.mask[index, :total],
        None if view.targets is None else view.targets[index, :total],
        torch.Generator().manual_seed(99),
        view.step,
        tuple(view.keys[clip] for clip in clips),
    )


def assert_sums_over_clips(module: nn.Module, view: View) -> None:
    """Check that loss, count and gradients of a batch are the sums of those of its clips, split anyhow."""
    whole, expected = _gradients(module, [view])
    for split in ([(0,), (1,), (2,)], [(2, 0), (1,)]):
        parts, found = _gradients(module, [rows(view, *clips) for clips in split])
        assert parts[1] == whole[1]
        torch.testing.assert_close(parts[0], whole[0], rtol=1e-5, atol=1e-4)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4, msg=name)


def assert_runs_in_bfloat16(module: nn.Module, view: View) -> None:
    """Check that under autocast the loss is finite, near the float32 one and float32 itself."""
    expected = module(view).loss_sum
    with torch.autocast("cpu", torch.bfloat16):
        found = module(view).loss_sum
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
    found.backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)
    module.zero_grad()


def assert_empty_is_zero(module: nn.Module, view: View) -> None:
    """Check that a clip without a masked frame, alone and beside others, adds nothing and breaks nothing."""
    assert view.mask is not None
    mask = view.mask.clone()
    mask[1] = False
    changed = View(**{**vars(view), "mask": mask})
    alone = module(rows(changed, 1))
    assert float(alone.loss_sum.detach()) == 0
    assert int(alone.count) == 0
    alone.loss_sum.backward()
    torch.testing.assert_close(
        module(changed).loss_sum, module(rows(changed, 0)).loss_sum + module(rows(changed, 2)).loss_sum
    )
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)
    module.zero_grad()


def _gradients(module: nn.Module, views: list[View]) -> tuple[tuple[Tensor, float], dict[str, Tensor]]:
    module.zero_grad()
    leaves = [view.hidden[-1] for view in views]
    assert leaves
    total, count = torch.zeros(()), 0.0
    for view in views:
        output = module(view)
        output.loss_sum.backward()
        total = total + output.loss_sum.detach()
        count += float(output.count)
    gradients = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    assert gradients
    return (total, round(count, 3)), gradients
