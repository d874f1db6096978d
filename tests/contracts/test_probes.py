"""Every probe is read, says in its first line what it asks, and names a head that fits its task."""

import pytest

from audio_ssl.base import catalog
from audio_ssl.base.config import build, read_yaml, structure, unstructure
from audio_ssl.probing.probe import Probe


@pytest.mark.parametrize("name", catalog.names("probes"))
def test_probe_is_a_question_with_a_fitting_head(name):
    path = catalog.find("probes", name)
    assert path.read_text().startswith("# ")
    probe = structure(Probe, read_yaml(path))
    assert structure(Probe, unstructure(probe)) == probe
    task = build(probe.task)
    if task.output == "nothing":
        assert probe.head is None
    else:
        assert task.output in build(probe.head, 8, 5, task.output).outputs
    assert "untrained" in probe.baselines
    assert "logmel" in probe.baselines
