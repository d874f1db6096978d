"""Tables in languages without spaces between words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sacrebleu

from audio_ssl.base.errors import UserError
from audio_ssl.fairness.audit import audit
from audio_ssl.fairness.measures import get_measure
from audio_ssl.fairness.predictions import read_predictions

RIGHT = ["今天天气很好我们去公园散步", "他说你好然后走了没有回来", "我喜欢喝茶也喜欢喝咖啡"]
SAID = ["今天天气真好我们去公园散步", "他说您好然后就走了没有回来", "我喜欢喝茶还喜欢喝咖啡"]


def write(path: Path, count: int = 24, **more: Any) -> Path:
    rows = [
        {
            "id": str(clip),
            "reference": RIGHT[clip % 3],
            "hypothesis": SAID[clip % 3] if clip % 2 else RIGHT[clip % 3],
            "speaker": f"s{clip % 12}",
            "gender": "FM"[clip % 2],
            **more,
        }
        for clip in range(count)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("language", [{}, {"translation_language": "zh"}, {"target_language": "zh-CN"}])
def test_a_gap_in_chinese_is_found(tmp_path: Path, language: dict[str, str]) -> None:
    path = write(tmp_path / "zh.jsonl", **language)
    read = read_predictions(path, metrics=["bleu"])
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    expected = sacrebleu.corpus_bleu(
        [row["hypothesis"] for row in rows], [[row["reference"] for row in rows]], tokenize="zh"
    ).score
    assert float(get_measure("bleu").score(read.statistics["bleu"].sum(0))) == pytest.approx(expected, abs=1e-9)
    assert read.tokenizer == "zh"
    found = audit([path], metrics=["bleu"], replicates=200)
    values = {row.group: row.value for row in found.groups if row.by == "gender"}
    assert values["F"] == pytest.approx(100)
    assert values["M"] < 90
    assert "|tok:zh|" in found.results[0].signature
    assert any("BLEU: tokenizer zh, as the target language is Chinese" in note for note in found.notes)


def test_a_tokenizer_may_be_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "zh.jsonl", translation_language="zh")
    assert read_predictions(path, metrics=["bleu"], tokenizer="char").tokenizer == "char"
    assert "|tok:13a|" in audit([path], metrics=["bleu"], replicates=100, tokenizer="13a").results[0].signature
    with pytest.raises(UserError, match="unknown tokenizer `words`"):
        read_predictions(path, metrics=["bleu"], tokenizer="words")


def test_the_language_of_the_speech_is_not_that_of_the_translation(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"
    row = {"reference": "It is fine today.", "hypothesis": "It is fine.", "speaker": "a", "gender": "F"}
    path.write_text(json.dumps({"id": "1", "language": "zh", **row}) + "\n")
    assert read_predictions(path, metrics=["bleu"]).tokenizer == "13a"


def test_languages_that_need_different_tokenizers_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "mixed.jsonl", translation_language="zh")
    rows = path.read_text(encoding="utf-8")
    other = {"id": "x", "reference": "Fine.", "hypothesis": "Fine.", "speaker": "a", "gender": "F"}
    path.write_text(rows + json.dumps({**other, "translation_language": "en"}) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"different tokenizers: en \(13a\), zh \(zh\) \(score the languages apart"):
        read_predictions(path, metrics=["bleu"])
    assert read_predictions(path, metrics=["bleu"], tokenizer="char").tokenizer == "char"
    late = write(tmp_path / "late.jsonl", 1200, translation_language="zh")
    with late.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**other, "translation_language": "en"}) + "\n")
    with pytest.raises(UserError, match="line 1201 is a translation into `en`, which needs another tokenizer"):
        read_predictions(late, metrics=["bleu"])


def test_recognition_without_spaces_is_scored_by_characters(tmp_path: Path) -> None:
    path = write(tmp_path / "zh.jsonl")
    found = audit([path], replicates=200)
    assert found.results[0].metrics == ("cer", "wer")
    assert any("Chinese, written without spaces between words" in note for note in found.notes)
    assert {row.metric for row in found.models} <= {"cer"}
    asked = audit([path], metrics=["wer", "cer"], replicates=200)
    assert asked.results[0].metrics == ("wer", "cer")
    assert any("WER takes a whole sentence for one word" in note for note in asked.notes)
    english = tmp_path / "en.jsonl"
    english.write_text(
        json.dumps({"id": "1", "reference": "a b", "hypothesis": "a", "speaker": "a", "gender": "F"}) + "\n"
    )
    assert read_predictions(english).warnings == ()
    assert list(read_predictions(english).statistics) == ["wer", "cer"]
