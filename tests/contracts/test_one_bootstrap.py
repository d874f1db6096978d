"""All resampling is in `audio_ssl.metrics.resampling`, so that every interval is the one that the simulation chose."""

import ast

from audio_ssl.base.catalog import folder_path

HOME = folder_path("corpora").parent
FILES = sorted([*(HOME / "audio_ssl").rglob("*.py"), *(HOME / "benchmarks").glob("*.py")])
QUANTILES = {"quantile", "percentile", "nanquantile", "nanpercentile"}
WORDS = ("multinomial", "quantile", "percentile", "integers(", "choice(", "bootstrap")
EXCEPTIONS = {
    "audio_ssl/metrics/resampling.py": "the one",
    "audio_ssl/data/audit.py": "percentiles of clip lengths and levels",
    "benchmarks/_fairness_speed.py": "what ours is timed against",
    "benchmarks/_fairness_tests.py": "what ours is compared with",
    "benchmarks/_fairness_readers.py": "deals simulated errors to speakers",
    "benchmarks/seed_intervals.py": "what ours is compared with",
}


def resampling_by_hand(text):
    """Return the calls of a module that draw bootstrap resamples, or take limits of them."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module == "scipy.stats":
            found |= {"scipy.stats.bootstrap" for name in node.names if name.name == "bootstrap"}
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, owner = node.func.attr, ast.unparse(node.func.value)
        drawn = (name == "multinomial" and owner != "torch") or (name, owner) == ("bootstrap", "stats")
        if name in ("choice", "integers"):
            drawn = _as_many_as_there_are(node)
        if drawn or name in QUANTILES:
            found.add(f"{owner}.{name}")
    return found


def _as_many_as_there_are(call):
    """Tell whether a call draws n of n things, with replacement."""
    options = {option.arg: option.value for option in call.keywords}
    if "replace" in options:
        return False
    numbers = [one for one in call.args if ast.unparse(one) not in ("0", "np.uint16", "np.uint32")]
    numbers += [options["size"]] if "size" in options else []
    sizes = [ast.unparse(number) for one in numbers for number in (one.elts if isinstance(one, ast.Tuple) else [one])]
    return any(size == sizes[0] or size == f"len({sizes[0]})" for size in sizes[1:])


def test_no_other_module_resamples():
    for path in FILES:
        name, text = path.relative_to(HOME).as_posix(), path.read_text(encoding="utf-8")
        found = resampling_by_hand(text) if any(word in text for word in WORDS) else set()
        if name in EXCEPTIONS:
            assert found, f"{name} is an exception that is none any more"
        else:
            assert not found, f"{name}: use audio_ssl.metrics.resampling for {', '.join(sorted(found))}"


def test_the_scan_sees_every_loop_that_there_was():
    for line in (
        "rng.multinomial(len(names), np.full(len(names), 1 / len(names)))",
        "drawn = rng.choice(len(names), len(names))",
        "drawn = rng.choice(names, len(names))",
        "[rng.integers(len(names), size=len(names)) for _ in range(200)]",
        "rng.integers(0, n, (replicates, n))",
        "low, high = np.quantile(found, [0.025, 0.975])",
        "np.percentile(found, (2.5, 97.5))",
        "from scipy.stats import bootstrap",
        "stats.bootstrap((x,), np.mean)",
    ):
        assert resampling_by_hand(line), line
    for line in (
        "torch.multinomial(shares, 3)",
        "rng.choice(len(words), most, replace=False)",
        "rng.choice(n, n, replace=False)",
        "rng.integers(0, 2, (count, speakers), np.uint8)",
        "rng.integers(8, 25, 30)",
    ):
        assert not resampling_by_hand(line), line
