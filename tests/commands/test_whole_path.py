"""From audio to a fairness report through the command line, on a toy language of tones."""

import json

from audio_ssl import __main__

QUICK_RUN = [
    "steps=3",
    "data.seconds_per_update=6",
    "data.crop_seconds=1.0",
    "data.min_seconds=0.4",
    "encoder.layers=2",
    "encoder.dim=32",
    "encoder.ffn_dim=32",
    "decoder.layers=1",
    "decoder.dim=16",
    "decoder.groups=4",
    "teachers.0.codebook_size=16",
    "teachers.2.clusters=5",
]
QUICK_PROBE = ["optim.steps=4", "optim.eval_every=2"]


def audio_ssl(*argv):
    assert __main__.run([str(a) for a in argv]) == 0


def test_the_whole_path(toy_manifest, tmp_path, capsys):
    run = tmp_path / "run"
    audio_ssl("pretrain", "demo", f"data.manifest={toy_manifest}", *QUICK_RUN, "--out", run)
    for name in ("recipe.yaml", "config.json", "model.safetensors", "README.md", "metrics.jsonl", "provenance.json"):
        assert (run / name).is_file(), name
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics] == [1, 2, 3]
    assert {"loss", "lr", "grad_norm", "audio_seconds_per_second", "accuracy_0", "cqt_mse"} <= metrics[0].keys()

    audio_ssl("extract", toy_manifest, run, "--out", tmp_path / "f", "--pool", "mean", "--format", "parquet")
    assert len((tmp_path / "f" / "index.jsonl").read_text().splitlines()) == 210

    results = []
    for probe in ("demo_asr", "demo_st", "demo_key", "demo_tagging"):
        results.append(tmp_path / probe)
        audio_ssl("probe", probe, run, f"data.manifest={toy_manifest}", *QUICK_PROBE, "--out", results[-1])
    audio_ssl("fairness", *results[:2], "--by", "gender", "--out", tmp_path / "fairness.html")
    fairness = json.loads((tmp_path / "fairness.json").read_text())
    # Three speakers a group: counted, not scored and not tested.
    assert fairness["groups"] == []
    assert {(row["groups"][0], row["speakers"]) for row in fairness["suppressed"]} == {("F", 3), ("M", 3)}
    assert {c["metric"] for c in fairness["comparisons"]} == {"wer", "cer", "bleu", "chrf"}
    assert all("fewer than the 5 needed" in c["refused"] for c in fairness["comparisons"])

    audio_ssl("report", run, *results, tmp_path / "fairness.json", "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for text in ("demo_asr", "demo_key", "untrained", "log-mel", "fewer than the 5 needed"):
        assert text in page
    assert json.loads((tmp_path / "report.json").read_text())
    assert "next: audio-ssl" in capsys.readouterr().out
