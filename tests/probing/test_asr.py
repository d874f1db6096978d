"""Tasks whose answers are sequences: recognition, translation, phones, slots."""

import pytest
import sentencepiece
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.registry import get_metric
from audio_ssl.probing.score import metric_of
from audio_ssl.probing.tasks import asr, phones, slots, st

TEXTS = ["the red fish swims", "the blue fish eats the red fish", "a whale sings to the fish", "red and blue"] * 5


def clip(**values):
    fields = {key: values.pop(key) for key in ("text", "translation") if key in values}
    return Clip("x", "x.wav", 0.0, 1.0, 16000, **fields, extra=values)


def taught(task, *clips):
    task.learn(list(clips))
    return task


def said(task, given):
    return task.hypothesis(task.target(given))


def test_characters_are_normalised_or_as_written():
    plain = taught(asr.build(asr.Config()), clip(text="Ahoj, Ty!"))
    assert plain.reference(clip(text="Ahoj,  ty?")) == "ahoj ty"
    assert plain.signature == "lower|nfc|punctuation removed, apostrophes kept"
    assert plain.files() == {}
    written = taught(asr.build(asr.Config(normaliser="none")), clip(text="Ahoj, Ty!"))
    assert said(written, clip(text="Ahoj,  Ty!")) == "Ahoj, Ty!"
    assert written.why_not(clip(text=" ")) == "empty transcript"
    assert written.signature != plain.signature


def test_characters_that_training_lacks_are_counted():
    task = taught(asr.build(asr.Config()), clip(text="ahoj"))
    assert task.unseen([clip(text="Žába"), clip(text="žár"), clip(text="ahoj")]) == {"ž": 2, "á": 2, "b": 1, "r": 1}
    assert task.unseen([clip(text="hoj")]) == {}


def test_pieces_come_back_as_text_and_are_the_same_every_time():
    first, second = (
        taught(asr.build(asr.Config(units="sentencepiece", vocab_size=40)), *(clip(text=text) for text in TEXTS))
        for _ in range(2)
    )
    assert first.files() == second.files()
    assert first.classes == second.classes
    assert 20 < len(first.classes) <= 40
    for text in TEXTS:
        assert said(first, clip(text=text)) == text
    # Pieces are longer than characters, and made of known ones.
    assert len(first.target(clip(text="the fish"))) < len("the fish")
    assert said(first, clip(text="the čfish")) == "the fish"
    assert first.unseen([clip(text="čaf")]) == {"č": 1}
    model = sentencepiece.SentencePieceProcessor(model_proto=first.files()["units.model"])
    assert model.encode("the red fish") == [number + 1 for number in first.target(clip(text="the red fish")).tolist()]


def test_pieces_of_few_texts_are_fewer(caplog):
    with caplog.at_level("INFO", logger="audio_ssl"):
        task = taught(asr.build(asr.Config(units="sentencepiece", vocab_size=900)), clip(text="ab ab"))
    assert said(task, clip(text="ba ab")) == "ba ab"
    assert "pieces, not 900: the texts are short" in caplog.text


def test_long_texts_are_learned_too():
    task = taught(asr.build(asr.Config(units="sentencepiece", vocab_size=30)), clip(text="ab " * 3000 + "q"))
    assert said(task, clip(text="q")) == "q"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: asr.build(asr.Config(units="words")), "`units` must be characters or sentencepiece, but is `words`"),
        (lambda: asr.build(asr.Config(units="sentencepiece", vocab_size=1)), "`vocab_size` must be at least 2"),
        (lambda: asr.build(asr.Config(normaliser="nons")), "unknown normaliser `nons`"),
        (lambda: taught(asr.build(asr.Config()), clip()), "no training clip has a transcript"),
        (lambda: st.build(st.Config(source="speech")), "`source` must be translation or text, but is `speech`"),
        (lambda: st.build(st.Config(min_count=0)), "`min_count` must be at least 1, but is 0"),
        (lambda: phones.build(phones.Config(units="words")), "`units` must be phones or characters"),
        (lambda: taught(phones.build(phones.Config()), clip(text="a")), "no training clip has phones"),
        (lambda: taught(slots.build(slots.Config()), clip(slots="play")), "no training clip has a marked slot"),
    ],
)
def test_wrong_questions_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_translations_as_written_in_pieces():
    pairs = [clip(translation=f"{text.capitalize()}, yes!", text="x") for text in TEXTS]
    task = taught(st.build(st.Config(units="sentencepiece", vocab_size=60, normaliser="none")), *pairs)
    assert said(task, pairs[1]) == "The blue fish eats the red fish, yes!"
    assert task.reference(pairs[0]) == "The red fish swims, yes!"
    assert get_metric("bleu").corpus([(task.reference(pairs[1]), said(task, pairs[1]))]) == pytest.approx(100)
    assert set(task.files()) == {"units.model"}
    assert "<unk>" not in task.classes
    assert list(task.unseen([clip(translation="The (fish)!")])) == ["(", ")"]


def test_transcripts_stand_for_translations():
    task = taught(st.build(st.Config(source="text", min_count=1)), clip(text="Red fish", translation="poisson"))
    assert task.classes == ["<unk>", "fish", "red"]
    assert task.why_not(clip(translation="poisson")) == "no transcript"
    assert task.why_not(clip(text="...")) == "empty transcript"
    assert said(task, clip(text="blue fish")) == "<unk> fish"
    assert st.build(st.Config()).why_not(clip(text="fish")) == "no translation"


def test_phones():
    task = taught(phones.build(phones.Config()), clip(phones="HH AH0 L OW1"), clip(phones="W ER1 L D"))
    assert task.classes == ["AH0", "D", "ER1", "HH", "L", "OW1", "W"]
    assert said(task, clip(phones="L  OW1 ZH")) == "L OW1"
    assert task.unseen([clip(phones="ZH OW1 ZH")]) == {"ZH": 2}
    assert get_metric("per").corpus([(task.reference(clip(phones="HH AH0 L OW1")), "HH AH0 OW1")]) == 25.0
    assert task.why_not(clip(text="hello")) == "no phones"
    assert task.why_not(clip(phones=" ")) == "empty phones"
    assert "must be text" in task.why_not(clip(phones=3))
    assert task.why_not(clip(phones="AH0")) is None


def test_stress_can_be_left_out_but_no_other_digit():
    task = phones.build(phones.Config(stress=False))
    assert task.reference(clip(phones="HH AH0 L OW1 7 a3")) == "HH AH L OW 7 a3"
    assert "removed" in task.signature


def test_letters_stand_for_phones():
    task = taught(phones.build(phones.Config(units="characters")), clip(text="Ahoj, ty!"))
    assert task.reference(clip(text="Ahoj ty")) == "a h o j t y"
    assert said(task, clip(text="hoj ty")) == "h o j t y"
    assert task.why_not(clip(phones="AH0")) == "no transcript"


def test_slots_are_characters_and_marks():
    task = taught(
        slots.build(slots.Config()),
        clip(slots="Play <artist>Queen</artist>, now!"),
        clip(slots="<track>Help</track> by <artist>the Beatles</artist>"),
    )
    assert [unit for unit in task.classes if len(unit) > 1] == ["</artist>", "</track>", "<artist>", "<track>"]
    one = clip(slots="Play  <artist>Queen</artist>, now!")
    assert task.reference(one) == "play <artist>queen</artist> now"
    assert said(task, one) == task.reference(one)
    assert len(task.target(one)) == len("play ") + 1 + len("queen") + 1 + len(" now")
    two = clip(slots="<track>help</track>")
    pairs = [(task.reference(one), said(task, one)), (task.reference(two), "<artist>help</artist>")]
    assert get_metric("slot_f1").corpus(pairs) == 50.0
    assert task.unseen([clip(slots="<year>19</year>")]) == {"<year>": 1, "1": 1, "9": 1, "</year>": 1}
    assert task.hypothesis(torch.tensor(task.target(one).tolist()[:8])) == "play <artist>qu"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "no slots"),
        (4, "`slots` must be text with marks"),
        ("...", "empty transcript"),
        ("<a></a>", "empty transcript"),
        ("play <a>x", "the slot <a> has no end"),
        ("play x</a>", "the mark </a> has no partner"),
        ("<a>x</b>", "the mark </b> has no partner"),
        ("<a>x <b>y</b></a>", "the mark <b> has no partner, or is within another slot"),
    ],
)
def test_slots_that_cannot_be_used_are_named(text, reason):
    assert slots.build(slots.Config()).why_not(clip(slots=text)).startswith(reason)


def test_a_transcript_without_slots_can_be_used():
    assert slots.build(slots.Config()).why_not(clip(slots="play it")) is None


def test_the_target_language_chooses_how_bleu_counts():
    chinese = [clip(translation="今天天气很好。", translation_language="zh-CN", text="x")]
    task = taught(st.build(st.Config(units="characters", min_count=1)), *chinese)
    assert task.tokenizer == "zh"
    assert "|tok:zh|" in task.signature
    assert task.warnings == ["tokenizer zh, as the target language is Chinese"]
    pairs = [("今天天气很好", "今天天气真好")]
    assert metric_of(task, "bleu").corpus(pairs) > 0
    assert get_metric("bleu").corpus(pairs) == 0
    # Where nobody says, the script does.
    assert taught(st.build(st.Config(min_count=1)), clip(translation="今天天气很好。")).tokenizer == "zh"
    assert (
        taught(
            st.build(st.Config(source="text", min_count=1)), clip(text="今天天气很好。", translation="fine")
        ).tokenizer
        == "zh"
    )
    english = taught(st.build(st.Config(min_count=1)), clip(translation="Fine.", translation_language="en"))
    assert (english.tokenizer, english.warnings) == ("13a", [])
    assert "|tok:13a|" in english.signature
    asked = taught(
        st.build(st.Config(tokenizer="char", min_count=1)),
        *chinese,
        clip(translation="Fine.", translation_language="en"),
    )
    assert asked.tokenizer == "char"
    with pytest.raises(UserError, match=r"need different tokenizers: en \(13a\), zh-CN \(zh\)"):
        taught(st.build(st.Config(min_count=1)), *chinese, clip(translation="Fine.", translation_language="en"))
    with pytest.raises(UserError, match="unknown tokenizer `spaces`"):
        st.build(st.Config(tokenizer="spaces"))


def test_without_spaces_between_words_characters_are_the_main_score():
    task = taught(asr.build(asr.Config()), clip(text="今天天气很好"), clip(text="我们去公园散步"))
    assert task.metrics == ("cer", "wer")
    assert "Chinese, written without spaces" in task.warnings[0]
    assert taught(asr.build(asr.Config()), clip(text="ahoj")).metrics == ("wer", "cer")
