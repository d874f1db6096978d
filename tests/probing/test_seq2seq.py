import itertools

import pytest
import torch
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.probing.head import HeadBatch
from audio_ssl.probing.heads import seq2seq
from audio_ssl.probing.heads._beam import search

SIZES = {"dim": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "max_tokens": 6, "dropout": 0.0}


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def make(**more):
    torch.manual_seed(0)
    return seq2seq.build(seq2seq.Config(**{**SIZES, **more}), 6, 5, "tokens")


def some_clips(clips=4):
    frames = torch.tensor([30, 25, 18, 9][:clips])
    features = torch.randn(clips, int(frames.max()), 6)
    return HeadBatch(torch.where((torch.arange(features.shape[1]) < frames[:, None])[..., None], features, 9.0), frames)


@pytest.fixture(scope="module")
def taught():
    with torch.random.fork_rng(devices=[]):
        head = make(projection_dim=7, label_smoothing=0.0)
        batch = some_clips()
        targets = [torch.tensor([0, 1, 2, 0]), torch.tensor([3, 3]), torch.tensor([4]), torch.tensor([1, 0, 1])]
        optimizer = torch.optim.Adam(head.parameters(), 0.01)
        # Not to the end: hypotheses shall compete.
        for _ in range(25):
            optimizer.zero_grad()
            head.loss(batch, targets).backward()
            optimizer.step()
        return head.eval(), batch


def with_beam(head, **more):
    other = make(projection_dim=7, **more)
    other.load_state_dict(head.state_dict())
    return other.eval()


def searched(head, batch, beam, **more):
    memory, padding = head._encode(batch)

    def step(tokens, memory, lengths):
        return head._following(tokens, memory, torch.arange(memory.shape[1]) >= lengths[:, None])

    settings = {"classes": 8, "ends": (1, 2), "max_tokens": 6, "length_normalisation": True, **more}
    return [found - 3 for found in search(step, memory, (~padding).sum(1), beam=beam, **settings)]


def total(head, batch, row, tokens):
    """Return the log-probability of some tokens and the end of the `row`th clip."""
    frames = batch.frames[row : row + 1]
    memory, padding = head._encode(HeadBatch(batch.features[row : row + 1, : int(frames)], frames))
    given = torch.tensor([[1, *(token + 3 for token in tokens)]])
    steps = [head._following(given[:, : n + 1], memory, padding)[0] for n in range(given.shape[1])]
    wanted = [*(token + 3 for token in tokens), 2]
    return float(sum(step[token] for step, token in zip(steps, wanted, strict=True)).detach())


def test_a_beam_of_one_is_greedy(taught):
    head, batch = taught
    greedy = [tokens.tolist() for tokens in head.predict(batch)]
    with torch.no_grad():
        assert [tokens.tolist() for tokens in searched(head, batch, 1)] == greedy
    assert any(greedy)


@pytest.mark.parametrize("head_seed", [1, 2])
def test_a_beam_of_one_is_greedy_where_no_end_comes(head_seed):
    torch.manual_seed(head_seed)
    head, batch = seq2seq.build(seq2seq.Config(**SIZES), 6, 5, "tokens").eval(), some_clips()
    following = head._following

    def endless(*given):
        return following(*given).index_fill(1, torch.tensor([2]), -50.0)

    head._following = endless
    greedy = [tokens.tolist() for tokens in head.predict(batch)]
    assert {len(tokens) for tokens in greedy} == {6}
    with torch.no_grad():
        assert [tokens.tolist() for tokens in searched(head, batch, 1)] == greedy


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_a_beam_finds_the_best_of_all(seed, normalised):
    # Log-probabilities of [pad, start, end, a, b] after each token; after two tokens comes the end.
    torch.manual_seed(seed)
    logits = torch.randn(5, 5)
    logits[:, :2] = -torch.inf
    table = logits.log_softmax(-1)
    last = torch.full((5,), -torch.inf).index_fill(0, torch.tensor([2]), 0.0)

    def step(tokens, memory, lengths):
        return last.expand(len(tokens), 5).clone() if tokens.shape[1] == 3 else table[tokens[:, -1]]

    scores = {}
    for said in itertools.chain.from_iterable(itertools.product((3, 4), repeat=n) for n in range(3)):
        path = [1, *said, 2]
        steps = [table[a, b] for a, b in itertools.pairwise(path)]
        steps[-1] = steps[-1] if len(said) < 2 else torch.tensor(0.0)
        scores[said] = float(sum(steps)) / (len(steps) if normalised else 1)
    (found,) = search(step, torch.zeros(1, 4, 2), torch.tensor([4]), 5, (1, 2), 5, 4, normalised)
    assert tuple(found.tolist()) == max(scores, key=scores.get)


def test_a_beam_is_never_worse_than_greedy(taught):
    head, batch = taught
    head = with_beam(head, beam=4, length_normalisation=False)
    with torch.no_grad():
        wide = head.predict(batch)
        greedy = head._greedy(*head._encode(batch))
        better = [
            total(head, batch, row, beam.tolist()) - total(head, batch, row, one.tolist())
            for row, (beam, one) in enumerate(zip(wide, greedy, strict=True))
        ]
    assert min(better) > -1e-4


def test_a_beam_gives_a_padded_batch_what_clips_have_alone(taught):
    head, batch = taught
    head = with_beam(head, beam=3)
    together = head.predict(batch)
    for row, count in enumerate(batch.frames.tolist()):
        (alone,) = head.predict(HeadBatch(batch.features[row : row + 1, :count], batch.frames[row : row + 1]))
        assert torch.equal(alone, together[row])


def test_loss_is_the_mean_over_tokens_and_ends(taught):
    head, batch = taught
    head = with_beam(head, label_smoothing=0.0)
    targets = [torch.tensor([0, 1, 2, 0]), torch.tensor([3, 3]), torch.tensor([4]), torch.tensor([1, 0, 1])]
    memory, padding = head._encode(batch)
    costs = []
    for row, target in enumerate(targets):
        given = torch.cat([torch.tensor([1]), target + 3])[None]
        logits = head._decode(given, memory[row : row + 1], padding[row : row + 1])[0]
        costs.append(F.cross_entropy(logits, torch.cat([target + 3, torch.tensor([2])]), reduction="none"))
    torch.testing.assert_close(head.loss(batch, targets), torch.cat(costs).mean())


def test_nothing_is_made_on_the_cpu():
    with torch.device("meta"):
        head = seq2seq.build(seq2seq.Config(**SIZES, projection_dim=7), 6, 5, "tokens")
    batch = HeadBatch(torch.empty(2, 20, 6, device="meta"), torch.empty(2, dtype=torch.long, device="meta"))
    # Tensors of the CPU do not mix with those of another device.
    assert head.loss(batch, [torch.tensor([1, 2]), torch.tensor([3])]).device.type == "meta"
    memory, padding = head._encode(batch)
    tokens = torch.empty(2, 3, dtype=torch.long, device="meta")
    assert head._following(tokens, memory, padding).shape == (2, 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"beam": 0}, "`beam` and `max_tokens` must be at least 1, but are 0 and 6"), ({"heads": 3}, "a multiple of")],
)
def test_numbers_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        make(**settings)
