import numpy as np
import pytest
import torch
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.base.seeds import seeded
from audio_ssl.targets.teachers import online_clustering
from audio_ssl.targets.teachers.online_clustering import OnlineCodebooks
from tests.targets.test_ema import audio, make_model

CPU = torch.device("cpu")


def make(model, **options):
    with seeded(CPU, 3):
        config = online_clustering.Config(**{"layers": 2, "codebook_size": 6, **options})
        return online_clustering.build_online(config, model).train()


def codebooks(decay=0.9):
    with seeded(CPU, 3):
        return OnlineCodebooks(2, 5, 4, decay)


def frames(seed, clips=3, number=7):
    random = torch.Generator().manual_seed(seed)
    states = [torch.randn(clips, number, 4, generator=random) for _ in range(2)]
    return states, torch.randint(3, (clips, number), generator=random)


def literally(sums, sizes, states, counted, decay):
    """The update of one codebook as DinoSR's section 3.3 has it, frame by frame, in float64."""
    codes = sums / sizes[:, None]
    totals, counts = np.zeros_like(sums), np.zeros_like(sizes)
    labels = np.empty(states.shape[:2], dtype=int)
    for clip, frame in np.ndindex(*states.shape[:2]):
        x = states[clip, frame]
        labels[clip, frame] = np.argmin([np.sum((x - code) ** 2) for code in codes])
        totals[labels[clip, frame]] += counted[clip, frame] * x
        counts[labels[clip, frame]] += counted[clip, frame]
    for code in np.flatnonzero(counts):
        sums[code] = decay * sums[code] + (1 - decay) * totals[code]
        sizes[code] = decay * sizes[code] + (1 - decay) * counts[code]
    return labels, counts > 0


def test_codes_follow_as_the_paper_has_it():
    books = codebooks()
    expected = [(books.sums[book].double().numpy(), books.sizes[book].double().numpy()) for book in range(2)]
    for update in range(4):
        states, counted = frames(update)
        labels = books(states, counted)
        books.follow(lambda x: x)
        for book, (sums, sizes) in enumerate(expected):
            wanted, used = literally(sums, sizes, states[book].double().numpy(), counted.numpy(), 0.9)
            assert (labels[..., book].numpy() == wanted).all()
            np.testing.assert_allclose(books.sums[book].numpy(), sums, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(books.sizes[book].numpy(), sizes, rtol=1e-6)
            assert float(books.usage[book]) == pytest.approx(used.mean())
            assert len(set(wanted.flatten())) > 1


def test_first_codes_have_zero_mean_and_unit_variance_over_a_codebook():
    codes = codebooks().codes
    torch.testing.assert_close(codes.mean(1), torch.zeros(2, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(codes.var(1, unbiased=False), torch.ones(2, 4), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_codes_are_the_same_in_any_number_of_processes_and_micro_batches(processes):
    whole, shares = codebooks(), [codebooks() for _ in range(processes)]
    for update in range(3):
        states, counted = frames(update, clips=8)
        whole(states, counted)
        whole.follow(lambda x: x)
        for clip in range(8):
            shares[clip % processes]([state[clip : clip + 1] for state in states], counted[clip : clip + 1])
        counts = [torch.cat([share._totals, share._counts[..., None]], -1) for share in shares]
        for share in shares:
            share.follow(lambda _: torch.stack(counts).sum(0))  # noqa: B023
            torch.testing.assert_close(share.codes, whole.codes, rtol=1e-5, atol=1e-6)
            assert torch.equal(share.codes, shares[0].codes)


def test_nothing_is_counted_outside_training_and_codes_that_have_no_frame_stay():
    books = codebooks()
    before = books.codes.clone()
    books.eval()(*frames(0))
    books.follow(lambda x: x)
    assert torch.equal(books.codes, before)
    assert not books.usage.any()
    books.train()
    states, counted = frames(0)
    books(states, torch.zeros_like(counted))
    books.follow(lambda x: x)
    assert torch.equal(books.codes, before)


def test_a_checkpoint_holds_averages_and_nothing_of_an_update_under_way():
    assert set(codebooks().state_dict()) == {"sums", "sizes", "usage"}


@pytest.mark.parametrize("point", ["feed_forward", "output"])
def test_codes_are_the_nearest_to_each_layer_of_the_unmasked_input(point):
    model = make_model()
    teacher = make(model, point=point)
    waveform, lengths = audio(4000)
    codes = teacher(waveform, lengths)
    hidden = model.eval()(waveform, lengths, point=point).hidden
    for book, state in enumerate(hidden[-2:]):
        normed = F.instance_norm(state.mT).mT[0]
        assert torch.equal(codes[0, :, book], torch.cdist(normed, teacher.codebooks.codes[book]).argmin(1))
    assert (teacher.spec.kind, teacher.spec.width, teacher.spec.num_classes) == ("codes", 2, 6)
    assert teacher.spec.grid == model.grid


def test_codes_and_averages_of_a_clip_do_not_depend_on_its_neighbours():
    waveform, lengths = audio(4000, 2400)
    together, alone = make(make_model()), make(make_model())
    frames_of = together.spec.grid.num_frames(lengths)
    counted = (torch.arange(int(frames_of.max())) < frames_of[:, None]).long()
    both = together(waveform, lengths, counted=counted)
    for clip, samples in enumerate(lengths.tolist()):
        number = int(frames_of[clip])
        one = alone(waveform[clip : clip + 1, :samples], lengths[clip : clip + 1], counted=counted[clip : clip + 1])
        assert torch.equal(both[clip, :number], one[0, :number])
    for teacher in (together, alone):
        teacher.follow(lambda x: x)
    torch.testing.assert_close(together.codebooks.codes, alone.codebooks.codes, rtol=1e-4, atol=1e-4)
    assert not torch.equal(together.codebooks.codes, make(make_model()).codebooks.codes)


def test_it_tells_how_many_codes_had_frames():
    teacher = make(make_model())
    assert teacher.metrics() == {}
    waveform, lengths = audio(4000)
    codes = teacher(waveform, lengths, counted=torch.ones(1, teacher.spec.grid.num_frames(4000)))
    teacher.follow(lambda x: x)
    found = {name: float(total / number) for name, (total, number) in teacher.metrics().items()}
    used = [len(set(codes[0, :, book].tolist())) / 6 for book in range(2)]
    assert found == pytest.approx({f"code_usage_{book}": share for book, share in enumerate(used)})


def test_no_gradient_no_dropout_no_trainable_weight():
    model = make_model()
    teacher = make(model)
    waveform, lengths = audio(4000)
    assert torch.equal(teacher(waveform, lengths), teacher(waveform, lengths))
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_defaults_are_the_paper_s():
    config = online_clustering.Config()
    assert (config.layers, config.codebook_size, config.codebook_decay) == (8, 256, 0.9)
    assert (config.decay_start, config.decay_end, config.decay_steps) == (0.999, 0.9999, 30_000)
    assert (config.freeze_after, config.point, config.average) == (200_000, "feed_forward", "layers")


def test_bad_settings_are_refused():
    with pytest.raises(UserError, match="`layers` must lie between 1 and the encoder's 3, but is 4"):
        make(make_model(), layers=4)
    with pytest.raises(UserError, match="`codebook_size` must be at least 1, but is 0"):
        make(make_model(), codebook_size=0)
    with pytest.raises(UserError, match="`codebook_decay` must be a share between 0 and 1, but is 2"):
        make(make_model(), codebook_decay=2)
    with pytest.raises(UserError, match="cannot be used without one"):
        online_clustering.build(online_clustering.Config(), 16000, CPU)
