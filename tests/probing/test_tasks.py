import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.families.music import KEYS
from audio_ssl.metrics.texts import get_normaliser
from audio_ssl.probing.tasks import asr, key, st, tagging


def clip(**values):
    return Clip("x", "x.wav", 0.0, 1.0, 16000, **values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("To JE, vrak… letadla!", "to je vrak letadla"),
        ("l'épave  n° 10_a", "l'épave n 10 a"),
        ("e\u0301tude", "étude"),
        ("¿Qué?", "qué"),
        ("Да, сэр.", "да сэр"),
    ],
)
def test_normaliser(text, expected):
    assert get_normaliser("basic")(text) == expected


def test_asr_round_trip_and_unseen_characters():
    task = asr.build(asr.Config())
    task.learn([clip(text="Ahoj, ty!")])
    assert task.hypothesis(task.target(clip(text="Hoj ty"))) == "hoj ty"
    assert task.hypothesis(task.target(clip(text="žhoj"))) == "hoj"
    assert task.why_not(clip()) == "no transcript"
    assert task.why_not(clip(text="?!")) == "empty transcript"


def test_st_words_and_unknown_ones():
    task = st.build(st.Config(min_count=2))
    task.learn([clip(translation="the fish swims"), clip(translation="The fish eats")])
    assert task.classes == ["<unk>", "fish", "the"]
    assert task.hypothesis(task.target(clip(translation="the big fish"))) == "the <unk> fish"
    with pytest.raises(UserError, match="no unit appears `min_count` 2 times"):
        task.learn([clip(translation="once")])
    with pytest.raises(UserError, match="`units` must be words, characters or sentencepiece, but is `bytes`"):
        st.build(st.Config(units="bytes"))
    characters = st.build(st.Config(units="characters", min_count=1))
    characters.learn([clip(translation="ab c")])
    assert characters.hypothesis(characters.target(clip(translation="ba c"))) == "ba c"


def test_key():
    task = key.build(key.Config())
    assert task.why_not(clip(label="H dur")) == "`H dur` is no key; a key is written like F# minor"
    assert task.why_not(clip()) == "no key"
    for name in KEYS:
        assert task.hypothesis(torch.nn.functional.one_hot(task.target(clip(label=name)), 24).float()) == name


def test_tags_that_cannot_be_learned_are_left_out():
    task = tagging.build(tagging.Config(min_count=2))
    train = [clip(tags=("x", "all")), clip(tags=("x", "all")), clip(tags=("rare", "all"))]
    task.learn(train)
    assert task.classes == ["x"]
    assert task.target(train[0]).tolist() == [1.0]
    assert task.reference(train[2]) == ["rare", "all"]
    assert task.hypothesis(torch.tensor([0.3])) == ["x"]
    with pytest.raises(UserError, match="no tag is on at least"):
        task.learn(train[:1])
