"""What a run was trained on: its training clips by corpus, with licences, hours, languages and genders."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from audio_ssl import catalog
from audio_ssl.config import read_yaml
from audio_ssl.data.attributes import attribute
from audio_ssl.data.corpus import Corpus, load_corpus
from audio_ssl.data.manifest import Clip
from audio_ssl.errors import UserError
from audio_ssl.pretrain.clips import select_clips
from audio_ssl.pretrain.recipe import structure_recipe
from audio_ssl.shipped.facts import HeardCorpus

COLUMN = "corpus"
"""Of a manifest's row: the name of the corpus that its clip is from."""

_UNNAMED = Corpus(
    name="",
    title="clips of no named corpus",
    description="",
    licence="not known",
    citation="not known",
    size="",
    layout="",
    splits={},
)


def heard_in(run: Path, manifest: Path | None = None) -> tuple[HeardCorpus, ...]:
    """Return the corpora of a run's training clips, those with most hours first.

    Parameters
    ----------
    run
        The run; its recipe says which clips were trained on.
    manifest
        Where the run's manifest lies now; None: where the recipe says.

    Raises
    ------
    UserError
        If the recipe or the manifest cannot be read.
    """
    data = structure_recipe(read_yaml(run / "recipe.yaml")).data
    if manifest is not None:
        data = dataclasses.replace(data, manifest=str(manifest))
    shortest = getattr(data, "min_seconds", 0.0)
    return by_corpus(clip for clip in select_clips(data).train if clip.seconds >= shortest)


def by_corpus(clips: Iterable[Clip]) -> tuple[HeardCorpus, ...]:
    """Return clips by corpus: that of their rows' column ``corpus``, else one that a folder of their path is called."""
    known = set(catalog.names("corpora"))
    groups: dict[str, list[Clip]] = {}
    # A mix of corpora has several rows of a clip that comes more than once in an epoch.
    for clip in {(clip.path, clip.start, clip.seconds): clip for clip in clips}.values():
        groups.setdefault(_corpus_of(clip, known), []).append(clip)
    found = [_heard(load_corpus(name).card if name else _UNNAMED, group) for name, group in groups.items()]
    if not found:
        raise UserError("the run has no training clip")
    return tuple(sorted(found, key=lambda one: -one.hours))


def _corpus_of(clip: Clip, known: set[str]) -> str:
    said = clip.extra.get(COLUMN)
    if isinstance(said, str) and said in known:
        return said
    # `manifest NAME --fetch` puts a corpus into data/NAME.
    return next((part for part in reversed(Path(clip.path).parts[:-1]) if part in known), "")


def _heard(card: Corpus, clips: Sequence[Clip]) -> HeardCorpus:
    def hours(gender: str) -> float:
        return sum(clip.seconds for clip in clips if attribute(clip, "gender") == gender) / 3600

    return HeardCorpus(
        name=card.name,
        title=card.title,
        licence=card.licence,
        citation=card.citation,
        made=card.made,
        clips=len(clips),
        hours=sum(clip.seconds for clip in clips) / 3600,
        languages=tuple(sorted({clip.language for clip in clips if clip.language})),
        female_hours=hours("F"),
        male_hours=hours("M"),
    )
