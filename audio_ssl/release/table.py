"""The models that ship, as a part of the documentation (``python benchmarks/tables.py`` writes it)."""

from __future__ import annotations

from audio_ssl.shipped import Shelf

NONE = "No model ships with this version.\n"

_USE = """```
audio-ssl extract my_music/ {name} --pool mean --format parquet --out features
```

```python
import audio_ssl

model = audio_ssl.load("{name}")
for clip, features in model.stream("my_music", pool="mean"):
    ...
```
"""


def models_table(shelf: Shelf) -> str:
    """Return a row a model and how to use the first, or a sentence where there is none."""
    rows = []
    for name in shelf.names():
        facts = shelf.facts(name)
        size = sum(file.stat().st_size for file in (shelf.root / name).iterdir())
        heard = f"{sum(one.hours for one in facts.corpora):.0f} h of audio"
        form = f"{facts.layers} x {facts.dim}, {facts.frames_per_second:g} frames/s at {facts.sample_rate} Hz"
        rows.append(f"| `{name}` | {facts.summary} | {form} | {size / 1e6:.1f} MB | {heard} | {facts.licence} |\n")
    head = "| name | what for | form | size | trained on | weights |\n|---|---|---|---|---|---|\n"
    return f"{head}{''.join(rows)}\n{_USE.format(name=shelf.names()[0])}" if rows else NONE
