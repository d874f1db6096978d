"""BLEU of languages without spaces between words, against sacrebleu."""

import numpy as np
import pytest
import sacrebleu

from audio_ssl.base.errors import UserError
from audio_ssl.metrics import texts
from audio_ssl.metrics.registry import get_metric
from audio_ssl.metrics.texts import (
    check_tokenizer,
    language_of_script,
    language_without_spaces,
    one_tokenizer,
    tokenizer_of,
)

TEXTS = {
    "zh": (
        ["今天天气很好，我们去公园散步。", "他说：“你好！”然后走了。", "我喜欢 Python 3.11。", ""],
        ["今天天气真好，我们去公园散步。", "他说：“您好！”然后就走了。", "我喜欢Python 3.11。", "多"],
    ),
    "ja": (
        ["今日は良い天気ですね。", "公園へ散歩に行きましょう。", "彼は「こんにちは」と言った。"],
        ["今日はいい天気ですね。", "公園に散歩に行こう。", "彼は「こんばんは」と言った。"],
    ),
    "en": (["The cat sat, on the mat.", "It's 3.5 km!"], ["A cat sat on the mat.", "It is 3.5 km!"]),
}


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("name", ["13a", "intl", "zh", "char", "none"])
def test_sums_over_clips_are_sacrebleus_corpus_score(language, name):
    references, hypotheses = TEXTS[language]
    theirs = sacrebleu.metrics.BLEU(tokenize=name)
    expected = theirs.corpus_score(hypotheses, [references])
    metric = get_metric("bleu", (), name)
    assert metric.corpus(zip(references, hypotheses, strict=True)) == pytest.approx(expected.score, abs=1e-9)
    assert metric.signature == str(theirs.get_signature())
    # A group of clips is the score of their sum.
    statistics = metric.statistics(zip(references, hypotheses, strict=True))
    half = theirs.corpus_score(hypotheses[:2], [references[:2]]).score
    assert float(metric.score(statistics[:2].sum(0))) == pytest.approx(half, abs=1e-9)


@pytest.mark.parametrize("language", ["ja", "ko"])
def test_tokenisers_with_packages(language):
    name = f"{language}-mecab"
    if tokenizer_of(language).name == "char":
        assert f"pip install 'sacrebleu[{language}]'" in tokenizer_of(language).reason
        with pytest.raises(UserError, match=f"`{name}` needs a package"):
            check_tokenizer(name)
        return
    references, hypotheses = TEXTS["ja"]
    expected = sacrebleu.metrics.BLEU(tokenize=name).corpus_score(hypotheses, [references]).score
    assert get_metric("bleu", (), name).corpus(zip(references, hypotheses, strict=True)) == pytest.approx(expected)


def test_a_package_that_is_there_is_taken(monkeypatch):
    monkeypatch.setattr(texts, "_installed", lambda name: True)
    assert [tokenizer_of(language).name for language in ("ja", "jpn", "ko-KR")] == ["ja-mecab", "ja-mecab", "ko-mecab"]


@pytest.mark.parametrize(
    ("language", "name"),
    [
        ("zh", "zh"), ("zh-CN", "zh"), ("ZH_tw", "zh"), ("yue", "zh"), ("Chinese", "zh"), ("th", "char"),
        ("km", "char"), ("my", "char"), ("lao", "char"), ("de", "13a"), ("fr-CA", "13a"), (None, "13a"), ("", "13a"),
    ],
)  # fmt: skip
def test_the_target_language_chooses(language, name):
    chosen = tokenizer_of(language)
    assert chosen.name == name
    assert bool(chosen.reason) == (name != "13a")


def test_languages_that_need_different_ones_are_refused():
    assert one_tokenizer(["de", "fr", None], "").name == "13a"
    assert one_tokenizer(["zh-CN", "zh-TW"], "").name == "zh"
    assert one_tokenizer([], "").name == "13a"
    with pytest.raises(UserError, match=r"different tokenizers: de \(13a\), zh \(zh\) \(apart\)"):
        one_tokenizer(["zh", "de"], "apart")


def test_unknown_tokenisers_are_named():
    with pytest.raises(UserError, match=r"unknown tokenizer `12a`; known: 13a, .*zh"):
        get_metric("bleu", (), "12a")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("今天天气很好 (ok)", "zh"), ("今日は良い天気です", "ja"), ("カタカナ", "ja"), ("오늘 날씨가 좋네요", "ko"),
        ("วันนี้อากาศดีมาก", "th"), ("ມື້ນີ້ອາກາດດີ", "lo"), ("ថ្ងៃនេះអាកាសធាតុល្អ", "km"), ("ဒီနေ့ရာသီဥတုကောင်းတယ်", "my"),
        ("Il fait beau, n’est-ce pas 日?", None), ("Привет", None), ("", None), ("12 34", None),
    ],
)  # fmt: skip
def test_scripts_tell_the_language(text, language):
    assert language_of_script([text]) == language


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (["今天天气很好，我们去公园。", "你好"], "Chinese"),
        (["你好", "好"], "Chinese"),
        (["今天 天气 很 好", "我们 去 公园"], None),
        (["วันนี้อากาศดีมาก ไปเที่ยวกันเถอะ"], "Thai"),
        (["วันนี้ อากาศ ดี มาก"], None),
        (["오늘 날씨가 좋네요"], None),
        (["a b c", ""], None),
        ([], None),
    ],
)
def test_words_can_be_told_or_not(texts, language):
    assert language_without_spaces(texts) == language


def test_the_issue_by_its_numbers():
    reference, hypothesis = ["今天天气很好我们去公园散步"], ["今天天气真好我们去公园散步"]
    scores = {
        name: get_metric("bleu", (), name).corpus(zip(reference, hypothesis, strict=True)) for name in ("13a", "zh")
    }
    assert scores["13a"] == 0
    assert scores["zh"] > 60
    assert np.isfinite(list(scores.values())).all()
