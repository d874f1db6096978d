from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
from transformers.modeling_outputs import Wav2Vec2BaseModelOutput

from audio_ssl.base.errors import UserError
from audio_ssl.base.versions import fill_in
from audio_ssl.pretrain.objectives import contrastive
from audio_ssl.pretrain.objectives._gumbel import GumbelQuantizer, perplexity
from tests.objectives.views import (
    assert_empty_is_zero,
    assert_runs_in_bfloat16,
    assert_sums_over_clips,
    make_view,
    shape,
)

SMALL = {
    "codebook_size": 20,
    "code_dim": 8,
    "final_dim": 8,
    "negatives": 10,
    "feature_dropout": 0.0,
    "shared_norm": False,
}


def make(**options):
    torch.manual_seed(0)
    return contrastive.build(contrastive.Config(**{**SMALL, **options}), shape(16, 12), None)


class Encoded(nn.Module):
    """Stands in for the reference's encoder: gives the states and features of a view."""

    def __init__(self, view, norm):
        super().__init__()
        self.view, self.norm = view, norm

    def forward(self, *args, **kwargs):
        return Wav2Vec2BaseModelOutput(self.view.hidden[-1], self.norm(self.view.features))


def reference(module, view, size):
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(12,),
        conv_stride=(2,),
        conv_kernel=(2,),
        num_feat_extract_layers=1,
        num_conv_pos_embedding_groups=2,
        feat_quantizer_dropout=0.0,
        codevector_dim=8,
        proj_codevector_dim=8,
        num_codevectors_per_group=size,
    )
    theirs = Wav2Vec2ForPreTraining(config)
    theirs.wav2vec2 = Encoded(view, module.feature_norm)
    ours = module.quantizer
    theirs.quantizer.codevectors.data = ours.vectors.data.reshape(1, -1, 4)
    for mine, other in (
        (ours.choice, theirs.quantizer.weight_proj),
        (module.project_context, theirs.project_hid),
        (module.project_codes, theirs.project_q),
    ):
        other.load_state_dict(mine.state_dict())
    return theirs.train(module.training)


def their_negatives(view, draws):
    """The reference counts frames over the flat batch, and wants negatives for every frame."""
    batch, frames = view.mask.shape
    index = torch.zeros(batch, frames, draws.negatives[0].shape[1], dtype=torch.long)
    for clip, numbers in enumerate(draws.negatives):
        masked = view.mask[clip].nonzero()[:, 0]
        index[clip, masked] = masked[numbers] + clip * frames
    return index


@pytest.mark.parametrize(("training", "size"), [(False, 20), (False, 3), (True, 320)])
def test_loss_is_that_of_transformers(training, size):
    module, view = make(codebook_size=size).train(training), make_view(step=7)
    theirs = reference(module, view, size)
    theirs.set_gumbel_temperature(module.gumbel_temperature(7))
    draws = module.draw(view)
    if training:
        torch.manual_seed(5)
        everywhere = torch.empty(view.mask.numel() * 2, size).exponential_()
        draws = replace(draws, noise=everywhere.view(*view.mask.shape, 2, size)[view.mask])
    torch.manual_seed(5)
    expected = theirs(
        torch.zeros(1), mask_time_indices=view.mask, sampled_negative_indices=their_negatives(view, draws)
    )
    output = module.loss(view, draws)
    total, count = output.metrics["contrastive_loss"]
    torch.testing.assert_close(total, expected.contrastive_loss, rtol=1e-5, atol=1e-5)
    diversity, _ = output.metrics["diversity_loss"]
    torch.testing.assert_close(output.loss_sum, total + 0.1 * diversity)
    if training:
        # fairseq and older versions of transformers add 1e-7 inside the logarithm, newer ones do not.
        torch.testing.assert_close(diversity, expected.diversity_loss, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(output.loss_sum, expected.loss, rtol=1e-5, atol=1e-5)
    else:
        # Outside training transformers counts the codes that are chosen; fairseq takes probabilities always.
        logits = module.quantizer.choice(module.feature_norm(view.features[view.mask])).unflatten(-1, (2, size))
        use = perplexity(logits.softmax(-1).mean(0)).sum()
        torch.testing.assert_close(diversity, (2 * size - use) / (2 * size) * count)
    assert int(count) == int(view.mask.sum())


def test_gradients_are_those_of_transformers():
    module, view = make(codebook_size=320), make_view()
    theirs = reference(module, view, 320)
    draws = module.draw(view)
    torch.manual_seed(5)
    everywhere = torch.empty(view.mask.numel() * 2, 320).exponential_()
    draws = replace(draws, noise=everywhere.view(*view.mask.shape, 2, 320)[view.mask])
    torch.manual_seed(5)
    theirs(
        torch.zeros(1), mask_time_indices=view.mask, sampled_negative_indices=their_negatives(view, draws)
    ).loss.backward()
    expected = theirs.quantizer.weight_proj.weight.grad.clone()
    module.zero_grad()
    module.loss(view, draws).loss_sum.backward()
    torch.testing.assert_close(module.quantizer.choice.weight.grad, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(module.project_codes.weight.grad, theirs.project_q.weight.grad, rtol=1e-4, atol=1e-5)


def test_negatives_are_other_masked_frames_of_the_clip():
    module, view = make(negatives=200), make_view((40, 33, 2))
    draws = module.draw(view)
    for clip, numbers in enumerate(draws.negatives):
        masked = int(view.mask[clip].sum())
        assert len(numbers) == (masked if masked > 1 else 0)
        if masked > 1:
            assert 0 <= int(numbers.min()) <= int(numbers.max()) < masked
            assert not (numbers == torch.arange(masked)[:, None]).any()
            assert len(numbers.unique()) == masked


def test_negatives_with_the_codes_of_the_positive_do_not_count():
    module, view = make(codebook_size=1), make_view()
    output = module(view)
    # One code: nothing to tell the positive from, and nothing told.
    assert float(output.metrics["contrastive_loss"][0]) == pytest.approx(0, abs=1e-4)
    assert float(make()(view).metrics["contrastive_loss"][0]) > 10


def test_it_adds_up_over_clips_runs_in_bfloat16_and_takes_clips_without_masked_frames():
    view = make_view()
    for training in (True, False):
        assert_sums_over_clips(make(diversity_weight=0.0).train(training), view)
    assert_runs_in_bfloat16(make().eval(), view)
    assert_empty_is_zero(make(diversity_weight=0.0), view)


def test_features_learn_through_the_quantiser():
    module, view = make(), make_view()
    view.features.requires_grad_()
    module(view).loss_sum.backward()
    assert float(view.features.grad[view.mask].abs().max()) > 1e-4
    assert not view.features.grad[~view.mask].any()


def test_the_encoders_norm_is_shared():
    view, norm = make_view(), nn.LayerNorm(12)
    own, shared = make().eval(), make(shared_norm=True).eval()
    nn.init.normal_(norm.weight)
    own.feature_norm.load_state_dict(norm.state_dict())
    shared.load_state_dict(own.state_dict(), strict=False)
    assert {*own.state_dict()} - {*shared.state_dict()} == {"feature_norm.weight", "feature_norm.bias"}
    assert torch.equal(shared(replace(view, feature_norm=norm)).loss_sum, own(view).loss_sum)


def test_an_objective_of_before_has_a_norm_of_its_own():
    assert fill_in(contrastive.Config, {}, 1) == {"shared_norm": False}
    assert contrastive.Config().shared_norm


def test_temperature_falls_to_its_floor():
    module = make(gumbel_decay=0.9)
    assert [module.gumbel_temperature(step) for step in (0, 1, 1000)] == [2.0, 1.8, 0.5]


def test_learning_tells_the_positive_from_the_negatives_and_uses_many_codes():
    module, view = make(), make_view((60, 60, 60), dim=16)
    # The context knows the features, so the task can be solved.
    view = replace(view, hidden=[torch.cat([view.features, view.features[..., :4]], -1)])
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for step in range(150):
        optimizer.zero_grad()
        output = module(replace(view, step=step))
        (output.loss_sum / output.count).backward()
        optimizer.step()
    module.eval()
    metrics = {name: float(total / count) for name, (total, count) in module(view).metrics.items()}
    assert metrics["accuracy"] > 0.6
    assert metrics["code_perplexity_0"] > 10


def test_perplexity_counts_the_codes_in_use():
    use = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0, 0, 0]])
    torch.testing.assert_close(perplexity(use), torch.tensor([4.0, 1.0]), rtol=1e-4, atol=1e-4)
    quantizer = GumbelQuantizer(3, 2, 5, 8)
    quantized = quantizer(torch.randn(40, 3), 1.0, None)
    assert quantized.codes.shape == (40, 2)
    torch.testing.assert_close(quantized.use.sum(-1), torch.ones(2))
    torch.testing.assert_close(quantized.vectors[:, :4], quantizer.vectors[0, quantized.codes[:, 0]])


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="`code_dim` 9 must be a multiple of `codebooks` 2"):
        make(code_dim=9)
    with pytest.raises(UserError, match="`negatives` must be at least 1, but is 0"):
        make(negatives=0)
