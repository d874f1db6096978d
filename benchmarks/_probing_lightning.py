"""One run as MARBLE v1 does it: a process with Lightning, features from .npy files, checkpoint of the best epoch.

``python _probing_lightning.py FOLDER LAYER LR SEED``: FOLDER has ``train/N.npy``, ``valid/N.npy``, ``setting.npz``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import lightning  # type: ignore[import-not-found]
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint  # type: ignore[import-not-found]
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

HIDDEN, DROPOUT = 512, 0.2


class Files(Dataset):  # type: ignore[type-arg]
    """Features of one layer, read from files."""

    def __init__(self, folder: Path, layer: int, targets: np.ndarray[Any, Any]) -> None:
        self._folder, self._layer, self._targets = folder, layer, targets

    def __len__(self) -> int:
        """Return how many clips there are."""
        return len(self._targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Read a clip."""
        return torch.from_numpy(np.load(self._folder / f"{index}.npy")[self._layer]), int(self._targets[index])


class Probe(lightning.LightningModule):  # type: ignore[misc]
    """The head; features are standardised as in every other system."""

    def __init__(self, mean: Tensor, scale: Tensor, classes: int, lr: float) -> None:
        super().__init__()
        self.mean, self.scale, self._lr = mean, scale, lr
        self.head = nn.Sequential(
            nn.Linear(len(mean), HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, classes)
        )
        self._right: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of classes."""
        scores: Tensor = self.head((x - self.mean) * self.scale)
        return scores

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Return the loss."""
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Note which answers were right."""
        self._right.append(self(batch[0]).argmax(1) == batch[1])

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy."""
        self.log("valid", torch.cat(self._right).float().mean())
        self._right.clear()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=self._lr)


def main() -> None:
    """Train one run."""
    folder, layer, lr, seed = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    lightning.seed_everything(seed, verbose=False)
    setting = np.load(folder / "setting.npz")
    mean, scale = (torch.from_numpy(setting[name][layer]) for name in ("mean", "scale"))
    probe = Probe(mean, scale, int(setting["classes"]), lr)
    train, valid = (
        DataLoader(Files(folder / split, layer, setting[split]), int(setting["batch"]), shuffle=split == "train")
        for split in ("train", "valid")
    )
    with tempfile.TemporaryDirectory() as kept:
        trainer = lightning.Trainer(
            max_epochs=int(setting["epochs"]),
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            gradient_clip_val=5.0,
            default_root_dir=kept,
            num_sanity_val_steps=0,
            callbacks=[
                EarlyStopping("valid", mode="max", patience=int(setting["patience"])),
                ModelCheckpoint(kept, monitor="valid", mode="max"),
            ],
        )
        trainer.fit(probe, train, valid)


if __name__ == "__main__":
    main()
