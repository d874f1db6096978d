import torch

from audio_ssl.targets.codec.quantizer import LatentNorm, UpdateSample, draw_lots


def alone(tensor):
    return tensor


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_lots_are_even_and_follow_key_and_place_alone():
    drawn_lots = draw_lots((5, 6, 2**62), 1000)
    assert torch.equal(drawn_lots[1:2], draw_lots((6,), 1000))
    assert torch.equal(drawn_lots[:, :10], draw_lots((5, 6, 2**62), 10))
    assert (drawn_lots >= 0).all()
    assert drawn_lots.unique().numel() == 3000
    share = torch.bincount(drawn_lots.flatten() % 10, minlength=10) / 3000
    assert (share - 0.1).abs().max() < 0.03


def test_a_sample_does_not_depend_on_the_split_or_the_order():
    rows, keys = drawn(200, 3), draw_lots((1,), 200)[0]
    whole, parts = UpdateSample(32, 3), UpdateSample(32, 3)
    whole.add(rows, keys)
    for part in torch.arange(200).flip(0).split(70):
        parts.add(rows[part], keys[part])
    sample = whole.gather(alone)
    assert torch.equal(sample, parts.gather(alone))
    assert 25 < len(sample) <= 32
    assert all((rows == row).all(1).any() for row in sample)
    whole.clear()
    assert len(whole.gather(alone)) == 0


def test_processes_agree_on_the_sample_of_all_their_rows():
    rows, keys = drawn(90, 3), draw_lots((2,), 90)[0]
    whole, mine, other = UpdateSample(16, 3), UpdateSample(16, 3), UpdateSample(16, 3)
    whole.add(rows, keys)
    mine.add(rows[:40], keys[:40])
    other.add(rows[40:], keys[40:])
    assert torch.equal(gather_together([mine, other]), whole.gather(alone))


def gather_together(samples):
    """Run all samples' `gather` in step: each call of the sum waits for the others'."""
    import threading

    barrier, slots, results = threading.Barrier(len(samples)), [None] * len(samples), [None] * len(samples)

    def work(rank):
        def total(tensor):
            slots[rank] = tensor
            barrier.wait(10)
            summed = sum(slots)
            barrier.wait(10)
            return summed

        results[rank] = samples[rank].gather(total)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(len(samples))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(result, results[0]) for result in results)
    return results[0]


def test_norm_is_that_of_the_reference_and_blind_to_shifts_and_scales():
    norm = LatentNorm(3)
    frames, reference = drawn(20, 3), drawn(50, 3, seed=1)
    expected = (frames - reference.mean(0)) / (reference.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(norm(frames, reference), expected)
    shift = torch.zeros(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(norm(frames + shift, reference + shift).square().sum(), shift)
    assert gradient.abs().max() < 1e-4


def test_norm_in_use_is_that_of_the_frames_it_was_set_by():
    norm = LatentNorm(1)
    assert torch.equal(norm(torch.ones(1, 1)), torch.ones(1, 1) * (1 + 1e-5) ** -0.5)
    norm.set(torch.tensor([[1.0], [5.0]]))
    assert (float(norm.mean), float(norm.variance)) == (3.0, 4.0)
    norm(torch.zeros(1, 1), torch.tensor([[30.0], [90.0]]))
    assert (float(norm.mean), float(norm.variance)) == (3.0, 4.0)
