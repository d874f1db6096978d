"""What `import audio_ssl` gives: few names, each with its text, and nothing heavy before it is asked for."""

import inspect
import pydoc
import subprocess
import sys

import pytest

import audio_ssl


def test_help_shows_the_public_names_with_their_texts():
    text = pydoc.plain(pydoc.render_doc(audio_ssl))
    assert "In Python, `load` opens any model" in text
    assert "load(name_or_path: 'str | Path'" in text
    assert "Load a model, in evaluation mode, on the CPU." in text
    assert "class Model(torch.nn.modules.module.Module)" in text
    assert "class Settings(builtins.object)" in text
    for name in set(audio_ssl.__all__) - {"__version__"}:
        assert inspect.getdoc(getattr(audio_ssl, name)), name


def test_names_are_the_real_things():
    from audio_ssl.features.load import Model, load

    assert audio_ssl.load is load
    assert audio_ssl.Model is Model
    assert issubclass(audio_ssl.UserError, Exception)
    with pytest.raises(AttributeError, match="module 'audio_ssl' has no attribute 'lod'"):
        audio_ssl.lod  # noqa: B018


def test_names_are_listed_without_importing_anything_heavy():
    program = "import sys, audio_ssl; print(*dir(audio_ssl)); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    names, heavy = done.stdout.splitlines()
    assert heavy == "False"
    shown = [name for name in names.split() if not name.startswith("_")]
    assert shown == sorted(set(audio_ssl.__all__) - {"__version__"})
    assert set(audio_ssl.__all__) <= set(names.split())
