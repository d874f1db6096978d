"""Models on the Hugging Face hub, downloaded and uploaded as folders. Needs the package huggingface_hub."""

from __future__ import annotations

import importlib
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audio_ssl.base.catalog import install_hint
from audio_ssl.base.errors import UserError
from audio_ssl.interop.write import export
from audio_ssl.models.model import SSLModel

_NAME = re.compile(r"([\w][\w.-]*/[\w][\w.-]*)(?:@([\w][\w./-]*))?")
_SETTINGS = ("config.json", "preprocessor_config.json", "processor_config.json")
_SAFE = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin")


def is_hub_name(name: str) -> bool:
    """Return whether a name is of the form ``org/name`` or ``org/name@revision``.

    Examples
    --------
    >>> is_hub_name("facebook/hubert-base-ls960@main"), is_hub_name("./runs/a"), is_hub_name("a/b/c")
    (True, False, False)
    """
    return _NAME.fullmatch(name) is not None


def fetch(name: str) -> Path:
    """Download a model from the hub and return its folder; a model in the cache is not downloaded again.

    Only settings and weights are downloaded, never code, and pickles only where there are no safetensors.

    Parameters
    ----------
    name
        ``org/name``, or ``org/name@revision`` with a branch, tag or commit.

    Raises
    ------
    UserError
        If the package is not installed, or the model is not in the cache and cannot be downloaded.
    """
    hub = _package()
    found = _NAME.fullmatch(name)
    if found is None:
        raise UserError(f"`{name}` is not a name on the hub", remedy="write org/name or org/name@revision")
    repo, revision = found.groups()
    try:
        folder = Path(hub.snapshot_download(repo, revision=revision, allow_patterns=[*_SETTINGS, *_SAFE]))
        if not any(folder.glob("model*.safetensors")):
            folder = Path(hub.snapshot_download(repo, revision=revision, allow_patterns=[*_SETTINGS, *_PICKLED]))
    # The package's errors derive from OSError (connection, HTTP), ValueError (names) or, older, neither.
    except Exception as error:
        raise UserError(
            f"`{name}` is not a folder, and no model of this name could be downloaded: {_first_line(error)}",
            remedy="run this once with a connection, or give the path of a downloaded folder",
        ) from error
    return folder


def push_to_hub(
    model: SSLModel,
    repo_id: str,
    *,
    private: bool = True,
    facts: Mapping[str, object] | None = None,
    licence: str | None = None,
) -> str:
    """Send a model to the hub, as `export` writes it, under the account that huggingface_hub is logged in with.

    Parameters
    ----------
    model
        The model.
    repo_id
        ``org/name``; a new repository is created if there is none.
    private
        Whether a new repository is private. An existing one stays as it is.
    facts, licence
        For the model card; see `export`.

    Returns
    -------
    str
        The address of the commit.

    Raises
    ------
    UserError
        If the package is not installed or the hub refuses.
    """
    hub = _package()
    if _NAME.fullmatch(repo_id) is None or "@" in repo_id:
        raise UserError(f"`repo_id` must be of the form org/name, but is `{repo_id}`")
    with tempfile.TemporaryDirectory() as folder:
        path = export(model, Path(folder) / "model", name=repo_id, facts=facts, licence=licence)
        try:
            api: Any = hub.HfApi()
            api.create_repo(repo_id, private=private, exist_ok=True)
            sent = api.upload_folder(repo_id=repo_id, folder_path=path, commit_message="Upload model")
        # See `fetch`.
        except Exception as error:
            raise UserError(
                f"the model could not be uploaded: {_first_line(error)}", where=repo_id, remedy="log in: hf auth login"
            ) from error
    return str(getattr(sent, "commit_url", sent))


def _package() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(
            "models on the hub need the package huggingface_hub", remedy=install_hint("huggingface_hub")
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
