"""Models that ship in the wheel: each in a folder of its name, with its card and the hashes of its files.

``small/`` holds ``config.json`` and ``model.safetensors`` (a saved model, stored in 16 bits), ``facts.json``
(`audio_ssl.shipped.facts`: training data, cost and scores), ``README.md`` (its card, made of the facts) and
``files.json`` (length and SHA-256 of the first three). The folder is the registry. Nothing is read before a model is
asked for by name; then its files are compared with their hashes, every time.

A user's folder of the same name that holds a model wins, as paths do everywhere, and the log says so;
``shipped:small`` always means the model that ships.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from audio_ssl.base.checksums import SEALS_FILE, faults, read_seals
from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.shipped.facts import FACTS_FILE, ShippedFacts, read_facts

PREFIX = "shipped:"
"""Prefix of a name that always means a shipped model."""

CARD_FILE = "README.md"
MOST_BYTES = 20_000_000
"""Of all shipped models together."""

SEALED = ("config.json", "model.safetensors", FACTS_FILE)
"""Files that are compared with their hashes before a model is used."""


@dataclass(frozen=True)
class Shelf:
    """The models of one folder."""

    root: Path

    def names(self) -> list[str]:
        """Return their names, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(one.name for one in self.root.iterdir() if one.is_dir() and one.name[0] not in "._")

    def name_in(self, name_or_path: str | Path) -> str | None:
        """Return the name of the shipped model that a text means; None if it means none, or a folder of the user's.

        Raises
        ------
        UserError
            If the text begins with ``shipped:`` and there is no model of that name.
        """
        if not isinstance(name_or_path, str):
            return None
        name = name_or_path.removeprefix(PREFIX)
        if name in self.names():
            return name
        if name != name_or_path:
            raise unknown_name("shipped model", name, self.names())
        return None

    def near(self, name_or_path: str | Path) -> str | None:
        """Return the name that was probably meant; None if none is similar."""
        close = get_close_matches(str(name_or_path), self.names(), n=1)
        return close[0] if close else None

    def whole(self, name: str) -> Path:
        """Return the folder of a model after its files were compared with their hashes.

        Raises
        ------
        UserError
            If a file is missing, is another one, or the folder has another name than the model.
        """
        folder = self.root / name
        remedy = self.mend(name)
        unsealed = [one for one in SEALED if one not in read_seals(folder)]
        if unsealed:
            what = f"{SEALS_FILE} has no hash of {', '.join(unsealed)}: the shipped model `{name}` cannot be trusted"
            raise UserError(what, where=str(folder), remedy=remedy)
        for file, wrong in faults(folder, SEALED, full=True).items():
            raise UserError(f"{file} of the shipped model `{name}` {wrong}", where=str(folder), remedy=remedy)
        if (told := self.facts(name).name) != name:
            what = f"the folder of the shipped model `{told}` has been renamed to `{name}`"
            raise UserError(what, where=str(folder), remedy=remedy)
        return folder

    def facts(self, name: str) -> ShippedFacts:
        """Return what is known of a model."""
        return read_facts(self.root / name)

    def mend(self, name: str) -> str:
        """Return the command that restores a shipped model."""
        # Of an installation below somebody's own repository, the package's folder is not in it.
        checkout = self.root.parent.parent
        if not (checkout / ".git").exists():
            return "install the package again: pip install --force-reinstall --no-deps audio-ssl"
        return f"bring it back: git -C {shlex.quote(str(checkout))} checkout -- {shlex.quote(str(self.root / name))}"


SHIPPED = Shelf(Path(__file__).parent)
"""What this installation has."""
