import gzip
import itertools
import logging
import math

import pytest
import torch
from torch import nn

from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.probing.decode import ctc_beam, greedy
from audio_ssl.probing.decode._language_model import END, START, UNKNOWN_WORD, KenLM, read_arpa, train_ngrams
from audio_ssl.probing.decode.ctc_beam import WordScorer
from audio_ssl.probing.head import CTCHeadBase, HeadBatch
from audio_ssl.probing.heads import mlp, seq2seq

ARPA = """
made by hand

\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.5\t<unk>
-99\t<s>\t-0.5
-0.7\t</s>
-0.4\tred\t-0.2
-0.9\tfish\t-0.3

\\2-grams:
-0.1\t<s> red
-0.25\tred fish
-0.3\tfish </s>

\\end\\
"""
TEXTS = ["red fish", "red fish swims", "blue fish swims here", "red whale", "the red fish", "fish swims", "red fish"]
SENTENCES = [text.split() for text in TEXTS]


@pytest.fixture
def arpa(tmp_path):
    (tmp_path / "m.arpa").write_text(ARPA)
    return tmp_path / "m.arpa"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("red fish", -0.1 - 0.25 - 0.3),
        ("red", -0.1 + (-0.2 - 0.7)),
        ("fish red", (-0.5 - 0.9) + (-0.3 - 0.4) + (-0.2 - 0.7)),
        ("red frog fish", -0.1 + (-0.2 - 1.5) + -0.9 + -0.3),
        ("", -0.5 - 0.7),
    ],
)
def test_scores_of_an_arpa_made_by_hand(arpa, text, expected):
    model = read_arpa(arpa)
    assert model.sentence(text.split()) == pytest.approx(expected)
    assert (model.order, sorted(model.words)) == (2, ["fish", "red"])


def test_perplexity_of_an_arpa_made_by_hand(arpa):
    model = read_arpa(arpa)
    assert model.perplexity([["red", "fish"], ["red"]]) == pytest.approx(10 ** ((0.65 + 1.0) / 5))
    assert math.isnan(model.perplexity([]))


@pytest.mark.parametrize("smoothing", ["kneser_ney", "witten_bell"])
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_probabilities_after_any_context_sum_to_one(order, smoothing):
    model = train_ngrams(SENTENCES, order, smoothing)
    assert model.order == order
    following = [*model.words, END, UNKNOWN_WORD]
    for context in (
        [],
        [START],
        [START, "red"],
        ["red", "fish"],
        ["blue", "fish", "swims"],
        ["frog"],
        ["swims", "red"],
    ):
        scores = [model.score(tuple(context[-(order - 1) :] if order > 1 else ()), word)[0] for word in following]
        assert sum(10**score for score in scores) == pytest.approx(1.0)


def test_witten_bell_by_hand():
    model = train_ngrams([["a", "b"], ["a", "a"]], 2, "witten_bell")
    # Words a 3, b 1, end 2: three kinds; a quarter of what they leave goes to each of them and the unknown word.
    single = {"a": (3 + 3 / 4) / 9, "b": (1 + 3 / 4) / 9, END: (2 + 3 / 4) / 9}
    assert 10 ** model.score((), UNKNOWN_WORD)[0] == pytest.approx(3 / 4 / 9)
    assert 10 ** model.score((), "a")[0] == pytest.approx(single["a"])
    # After a came a, b and the end, once each.
    assert 10 ** model.score(("a",), "b")[0] == pytest.approx((1 + 3 * single["b"]) / 6)
    assert 10 ** model.score((START,), "b")[0] == pytest.approx(1 / 3 * single["b"])


def test_kneser_ney_by_hand():
    model = train_ngrams([["a", "b"], ["a", "a"], ["c", "b"]], 2)
    # Different words before: a 2 (start, a), b 2 (a, c), c 1, end 2 (b, a). Discounts: one of 1, three of 2; of pairs
    # start-a and b-end come twice, start-c, a-a, a-b, a-end, c-b once.
    low, high = 1 / (1 + 2 * 3), 5 / (5 + 2 * 2)
    single = {word: (count - low) / 7 + 4 * low / 7 / 5 for word, count in (("a", 2), ("b", 2), ("c", 1), (END, 2))}
    assert 10 ** model.score((), "c")[0] == pytest.approx(single["c"])
    assert 10 ** model.score((START,), "a")[0] == pytest.approx((2 - high) / 3 + 2 * high / 3 * single["a"])
    assert 10 ** model.score(("a",), "c")[0] == pytest.approx(3 * high / 3 * single["c"])


def test_a_longer_model_knows_more():
    held_out = [["red", "fish", "swims"], ["blue", "fish"]]
    unigram, trigram = (train_ngrams(SENTENCES, order).perplexity(held_out) for order in (1, 3))
    assert trigram < 0.7 * unigram


def test_an_arpa_file_keeps_the_model(tmp_path):
    model = train_ngrams(SENTENCES, 3)
    with gzip.open(tmp_path / "m.arpa.gz", "wt") as file:
        file.write(model.arpa())
    again = read_arpa(tmp_path / "m.arpa.gz")
    assert len(again) == len(model)
    for words in (*SENTENCES, ["frog", "red"], []):
        assert again.sentence(words) == pytest.approx(model.sentence(words), abs=1e-5)


def test_kenlm_reads_the_model_alike(tmp_path):
    kenlm = pytest.importorskip("kenlm", reason="kenlm is not installed")
    for smoothing, order in itertools.product(("kneser_ney", "witten_bell"), (2, 3, 4)):
        model = train_ngrams(SENTENCES, order, smoothing)
        (tmp_path / "m.arpa").write_text(model.arpa())
        theirs = kenlm.Model(str(tmp_path / "m.arpa"))
        for text in (*TEXTS, "frog red fish", "swims the", ""):
            assert theirs.score(text) == pytest.approx(model.sentence(text.split()), abs=1e-4)
        adapter = KenLM(tmp_path / "m.arpa", read_arpa(tmp_path / "m.arpa", 1).words)
        assert (adapter.order, sorted(adapter.words)) == (order, sorted(model.words))
        mine, other = (WordScorer(one, 0.7, 0.3, -10.0) for one in (model, adapter))
        states = mine.get_start_state(), other.get_start_state()
        for word in ("red", "frog", "fish", "swims"):
            (score, first), (same, second) = mine.score(states[0], word), other.score(states[1], word)
            assert same == pytest.approx(score, abs=1e-4)
            states = first, second
    (tmp_path / "bad.arpa").write_text("\\data\\\n")
    with pytest.raises(UserError, match="kenlm cannot read it"):
        KenLM(tmp_path / "bad.arpa", [])


def test_the_words_of_an_arpa_are_read_alone(arpa):
    alone = read_arpa(arpa, 1)
    assert (alone.order, alone.words) == (1, ["red", "fish"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "is no ARPA file: it has no line"),
        ("\\1-grams:\n-0.5 a b c d\n", "m.arpa:2: must be a probability, 1 words and perhaps a backoff"),
        ("\\1-grams:\nx a\n", "m.arpa:2: has no number where one must be"),
    ],
)
def test_other_files_are_refused(arpa, text, message):
    arpa.write_text(text)
    with pytest.raises(UserError, match=message):
        read_arpa(arpa)
    with pytest.raises(UserError, match="no such language model"):
        read_arpa(arpa.parent / "none.arpa")


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(UserError, match="no training transcript has a word"):
        train_ngrams([[], []], 2)
    with pytest.raises(UserError, match="`order` must be 1 to 5, but is 6"):
        train_ngrams(SENTENCES, 6)
    # Words called as the special ones are no words.
    assert "</s>" not in train_ngrams([["a", "</s>", "b"]], 2).words


def test_weights_of_words(arpa):
    scorer = WordScorer(read_arpa(arpa), alpha=0.5, beta=2.0, unknown_offset=-10.0)
    start = scorer.get_start_state()
    assert scorer.score(start, "red")[0] == pytest.approx(0.5 * -0.1 * math.log(10) + 2)
    assert scorer.score(start, "frog")[0] == pytest.approx(0.5 * (-0.5 - 1.5 - 10) * math.log(10) + 2)
    assert scorer.score(("red",), "fish", True)[0] == pytest.approx(0.5 * -0.55 * math.log(10) + 2)
    assert [scorer.score_partial_token(part) for part in ("fi", "red", "fr", "frogfrogfrog")] == [0, 0, -10, -20]


class Given(CTCHeadBase):
    """A head that says what it is given."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(1, 1)

    def forward(self, features, frames):
        return features


class Toy:
    """A task whose text is joined tokens."""

    output = "tokens"

    def __init__(self, classes, joint=""):
        self.classes, self._joint = classes, joint

    def target(self, clip):
        text = clip.text.split() if self._joint else clip.text
        return torch.tensor([self.classes.index(token) for token in text])

    def hypothesis(self, prediction):
        return " ".join(self._joint.join(self.classes[i] for i in prediction.tolist()).replace("▁", " ").split())


def clips(*texts):
    return [Clip(str(n), "x.wav", 0.0, 1.0, 16000, text=text) for n, text in enumerate(texts)]


def batch_of(*rows):
    """Return a batch of probabilities, ``[frame, blank and tokens]``."""
    log = [torch.tensor(row).clamp(min=1e-6).log() for row in rows]
    return HeadBatch(
        nn.utils.rnn.pad_sequence(log, batch_first=True, padding_value=3.0), torch.tensor([*map(len, log)])
    )


def search(task, batch, *texts, **settings):
    decoder = ctc_beam.build(ctc_beam.Config(**settings))
    decoder.start(task, clips(*texts))
    return [task.hypothesis(tokens) for tokens in decoder.decode(Given(), batch)]


LETTERS = Toy([" ", "a", "b", "c"])


def spelled(*letters, share=0.9):
    rows = []
    for letter in letters:
        row = [(1 - share) / 4] * 5
        row[0 if letter == "-" else LETTERS.classes.index(letter) + 1] = share
        rows.append(row)
    return rows


def test_a_search_adds_up_the_paths_of_a_text():
    # The most likely path is blank, blank; the most likely text is a: 0.4 · 0.6 + 0.6 · 0.4 + 0.4 · 0.4 > 0.6 · 0.6.
    batch = batch_of([[0.6, 0.0, 0.4, 0.0, 0.0]] * 2)
    assert [LETTERS.hypothesis(one) for one in greedy.build(greedy.Config()).decode(Given(), batch)] == [""]
    assert search(LETTERS, batch, order=0) == ["a"]


def test_a_clear_clip_reads_as_greedy_and_padding_is_not_read():
    rows = [spelled(*"ab- c"), spelled(*"cc-c"), spelled(*"--")]
    batch = batch_of(*rows)
    plain = [LETTERS.hypothesis(tokens) for tokens in Given().predict(batch)]
    assert plain == ["ab c", "cc", ""]
    assert search(LETTERS, batch, order=0, beam_size=8) == plain
    alone = [search(LETTERS, batch_of(row), order=0, beam_size=8)[0] for row in rows]
    assert alone == plain


def test_a_language_model_prefers_what_was_said():
    # The frames say "ab ac" or "ab bc", evenly but for a trifle.
    rows = spelled(*"ab ")
    rows += [[0.01, 0.01, 0.48, 0.49, 0.01], *spelled("c")]
    batch, texts = batch_of(rows), ["ab ac", "ab ac", "ac ab", "bc"]
    assert search(LETTERS, batch, *texts, order=0) == ["ab bc"]
    assert search(LETTERS, batch, *texts, order=2, alpha=0.5) == ["ab ac"]
    assert search(LETTERS, batch, *texts, order=2, alpha=0.0, beta=0.0, unknown_offset=0.0) == ["ab bc"]


def test_beta_makes_words():
    # A space in the middle is a little less likely than none.
    rows = [*spelled("a"), [0.55, 0.44, 0.003, 0.004, 0.003], *spelled("b")]
    texts = ["a b", "ab", "b a"]
    settings = {"order": 1, "alpha": 0.01, "token_prune": -9.0}
    assert search(LETTERS, batch_of(rows), *texts, **settings, beta=0.0) == ["ab"]
    assert search(LETTERS, batch_of(rows), *texts, **settings, beta=3.0) == ["a b"]


def test_an_arpa_file_stands_for_the_transcripts(tmp_path):
    (tmp_path / "m.arpa").write_text(train_ngrams([["ab", "ac"]] * 3, 2).arpa())
    rows = [*spelled(*"ab "), [0.01, 0.01, 0.48, 0.49, 0.01], *spelled("c")]
    assert search(LETTERS, batch_of(rows), "bc", arpa=str(tmp_path / "m.arpa")) == ["ab ac"]


def test_phones_are_words_and_pieces_are_joined():
    phones = Toy(["AH0", "HH", "L"], " ")
    row = [[0.02, 0.02, 0.94, 0.02], [0.02, 0.94, 0.02, 0.02], [0.94, 0.02, 0.02, 0.02], [0.02, 0.94, 0.02, 0.02]]
    assert search(phones, batch_of(row), "HH AH0", "HH AH0 AH0", "L HH") == ["HH AH0 AH0"]
    assert search(phones, batch_of(row), order=0) == ["HH AH0 AH0"]
    pieces = Toy(["▁a", "b", "▁", "▁ab", "c"])
    sure = [[0.01] * 6 for _ in range(4)]
    for frame, token in enumerate([0, 1, 3, 4]):
        sure[frame][token + 1] = 0.95
    decoder = ctc_beam.build(ctc_beam.Config(order=0))
    decoder.start(pieces, [])
    # The same text in fewer pieces.
    assert [pieces.hypothesis(found) for found in decoder.decode(Given(), batch_of(sure))] == ["ab abc"]


def test_marks_of_slots_are_one_token():
    task = Toy([" ", "</x>", "<x>", "a", "b"])
    row = [[0.02] * 6 for _ in range(5)]
    for frame, token in enumerate([3, 0, 2, 4, 1]):
        row[frame][token + 1] = 0.9
    decoder = ctc_beam.build(ctc_beam.Config(order=0))
    decoder.start(task, [])
    (found,) = decoder.decode(Given(), batch_of(row))
    assert found.tolist() == [3, 0, 2, 4, 1]


def test_the_language_model_is_described_and_kept(caplog, tmp_path):
    decoder = ctc_beam.build(ctc_beam.Config(order=3, beam_size=7, alpha=0.4))
    with caplog.at_level(logging.INFO, logger="audio_ssl"):
        decoder.start(LETTERS, clips(*(["ab ac", "bc ab", "c"] * 5)))
    assert "of 4 words in 15 transcripts; perplexity " in caplog.text
    assert "CTCBeamSearcher|beam:7|lm:3-gram of the training transcripts, kneser_ney|alpha:0.4" in decoder.signature
    (content,) = decoder.files().values()
    (tmp_path / "m.arpa").write_bytes(content)
    assert sorted(read_arpa(tmp_path / "m.arpa").words) == ["ab", "ac", "bc", "c"]
    assert ctc_beam.build(ctc_beam.Config(order=0)).signature.endswith("lm:none")


def test_searches_know_their_heads():
    beam, plain = ctc_beam.build(ctc_beam.Config()), greedy.build(greedy.Config())
    other = seq2seq.build(seq2seq.Config(dim=8, heads=2), 6, 5, "tokens")
    assert beam.why_not(Given()) is None
    assert beam.why_not(other) == "ctc_beam searches the heads whose names begin with ctc"
    assert plain.why_not(other) is None
    assert "tokens" in plain.why_not(mlp.build(mlp.Config(), 6, 5, "class"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam_size": 0}, "`beam_size` must be at least 1"),
        ({"order": 6}, "`order` must be 0 to 5, but is 6"),
        ({"smoothing": "none"}, "`smoothing` must be kneser_ney or witten_bell"),
        ({"arpa": "none.arpa"}, "no such language model: none.arpa"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        ctc_beam.build(ctc_beam.Config(**settings))
