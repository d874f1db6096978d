"""The `targets` stage: a recipe's targets, computed once and stored.

A store holds one entry per clip, with one array per teacher (``"0"``, ``"1"``, ...), and says which teachers and which
manifest it is of; ``labels.json`` says whether the targets are worth learning (`label_health`). Teachers that had to be
fitted or trained for it lie in ``teachers/`` inside the store, and a run that reads the store takes them from there. Of
a recipe with iterations the first one's targets are stored; the later ones listen to a model that does not exist yet.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from audio_ssl.artifacts.recipe_outline import RECIPE_FILE
from audio_ssl.artifacts.records import to_json, write_record
from audio_ssl.artifacts.run import ERRORS_FILE
from audio_ssl.base.config import kind_of
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.base.files import locked_folder, write_text
from audio_ssl.base.progress import track
from audio_ssl.base.threads import background_pool, in_order
from audio_ssl.data.clip_reader import ClipReader
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip
from audio_ssl.data.store import StoreWriter
from audio_ssl.pretrain.distributed import choose_device
from audio_ssl.pretrain.init_weights import bring_teachers, open_source
from audio_ssl.pretrain.jobs import StageContext
from audio_ssl.pretrain.kinds import masked_prediction
from audio_ssl.pretrain.recipe import open_recipe, recipe_yaml
from audio_ssl.pretrain.run import run_or_go_on
from audio_ssl.pretrain.selection import Selection, select_clips
from audio_ssl.pretrain.teachers import prepare_teachers
from audio_ssl.targets.health import LABELS_FILE, STORE_FRAMES, Labels, judge, measure
from audio_ssl.targets.sources import ComputedTargets, StoredTargets, target_meta

logger = logging.getLogger(__name__)


def make_targets(recipe: str, overrides: Sequence[str], out: Path) -> Path:
    """Compute and store the targets of every clip that a recipe trains on or validates with.

    A stopped run continues where it was when called again.

    Parameters
    ----------
    recipe
        Name or path of a recipe of masked prediction.
    overrides
        ``key=value`` settings.
    out
        The store's folder.

    Returns
    -------
    The store's folder.

    Raises
    ------
    UserError
        If the recipe or manifest is wrong, has no targets, not one clip can be used, or a teacher says the same of
        every frame.
    """
    config = open_recipe(recipe, overrides)
    if not isinstance(config, masked_prediction.Config):
        raise UserError("only recipes of kind masked_prediction have targets", where="$.kind")
    selection = select_clips(config.data)
    masked_prediction.check(config, selection)
    first = masked_prediction.stages(config)[0].recipe
    assert isinstance(first, masked_prediction.Config)
    if not masked_prediction.stored(first.teachers):
        raise UserError("no teacher of this recipe has targets to store", where="$.teachers")
    with locked_folder(out):
        return _make(config, first, selection, out)


def _make(config: masked_prediction.Config, first: masked_prediction.Config, selection: Selection, out: Path) -> Path:
    ledger, reader = ErrorLedger(out / ERRORS_FILE), ClipReader(config.data.sample_rate)
    context = StageContext(out, selection, reader, ledger, choose_device(config.device), None, run_or_go_on)
    if first.init is not None:
        bring_teachers(open_source(first.init), first, out)
    chosen = masked_prediction.stored(first.teachers)
    teachers = prepare_teachers(first, chosen, first.codec, context)
    fingerprints = [teacher.fingerprint for teacher in teachers]
    hop_samples = teachers[0].spec.grid.hop_samples
    meta = target_meta(fingerprints, selection.manifest_hash, config.data.sample_rate, hop_samples)
    source = ComputedTargets(teachers, reader, cache_bytes=0)

    def compute(clip: Clip) -> tuple[Clip, tuple[Tensor, ...] | None]:
        try:
            return clip, source.whole(clip)
        except AudioError as error:
            ledger.record(clip.path, error.reason, id=clip.id)
            return clip, None

    with StoreWriter(out, to_json(meta), resume=True) as writer, background_pool(config.data.workers) as pool:
        done = writer.done
        waiting = [clip for clip in selection.all if clip.id not in done]
        for clip, targets in track(in_order(pool, compute, waiting), "targets", len(waiting)):
            if targets is not None:
                writer.add(clip.id, {str(index): target for index, target in enumerate(targets)})
        stored = len(writer.done)
    if stored == 0:
        raise UserError(f"none of the {len(selection.all)} clips can be used", where=str(ledger.path))
    write_text(out / RECIPE_FILE, recipe_yaml(config))
    arrays = StoredTargets(out, fingerprints, selection.manifest_hash)
    found = (arrays.whole(clip) for clip in selection.all if clip.id in arrays)
    labels = measure([kind_of(teacher) for teacher in chosen], teachers, found, STORE_FRAMES)
    write_record(out / LABELS_FILE, Labels(labels))
    judge(labels, out / LABELS_FILE)
    logger.info("targets of %d of %d clips are in %s", stored, len(selection.all), out)
    return out
