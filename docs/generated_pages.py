"""Pages that say what files say: of each recipe, probe and corpus, of the commands, and of every key.

`write_all` writes them into ``docs/generated`` when the documentation is built; nothing there is committed. A recipe's
or a probe's page is its header and its settings, a corpus's page its docstring and its card.
"""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from types import MappingProxyType

import audio_ssl
from audio_ssl.__main__ import run
from audio_ssl.base import catalog
from audio_ssl.commands.app import app
from audio_ssl.commands.explain import keys_page
from audio_ssl.data.corpus import LoadedCorpus, load_corpus
from audio_ssl.probing.probe import Probe

_LABEL = re.compile(r"([A-Z][a-z]+(?: [a-z]+)?) {2,}(\S.*)")
"""A line of a recipe's header that begins a labelled text; the lines that go on with it are indented."""

_KIND_OF_PROBE = MappingProxyType({"demo": "The demo's", "superb": "SUPERB's", "marble": "MARBLE's"})
"""Part of a probe's name, and the heading it stands under."""


def write_all(folder: Path, parity: Path) -> None:
    """Write every page that differs from what is there, and remove pages of things that are gone.

    Parameters
    ----------
    folder
        Where the pages go.
    parity
        The table of what differs from papers, of which each recipe's page has its part.
    """
    pages = dict(all_pages(parity.read_text(encoding="utf-8")))
    for path in folder.rglob("*.md"):
        if str(path.relative_to(folder)) not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # What has not changed keeps its time, so that Sphinx does not read it again.
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def write_example(page: Path) -> None:
    """Audit the example that comes with the package, unless the page is newer than the package's files."""
    newest = max(path.stat().st_mtime for path in Path(audio_ssl.__file__).parent.rglob("*.*"))
    if page.is_file() and page.stat().st_mtime > newest:
        return
    page.parent.mkdir(parents=True, exist_ok=True)
    with redirect_stdout(io.StringIO()):
        status = run(["fairness", page.stem, "--out", str(page)])
    assert status == 0, "the audit of the example failed"
    # The page names the file that was read, and where this machine keeps it is nobody's concern.
    home = f"{Path(audio_ssl.__file__).parent.parent}/"
    page.write_text(page.read_text(encoding="utf-8").replace(home, ""), encoding="utf-8")


def all_pages(parity: str) -> Iterator[tuple[str, str]]:
    """Give the path below the folder and the text of every page."""
    yield "keys.md", keys_page(Probe)
    yield "commands.md", commands_page()
    aspects = parity_parts(parity)
    recipes = {name: header_of(catalog.find("recipes", name)) for name in catalog.names("recipes")}
    for name in recipes:
        yield f"recipes/{name}.md", recipe_page(catalog.find("recipes", name), aspects.get(name))
    yield "recipes/index.md", recipe_list(recipes, aspects)
    for name in catalog.names("probes"):
        yield f"probes/{name}.md", probe_page(catalog.find("probes", name))
    yield "probes/index.md", probe_list()
    corpora = {name: load_corpus(name) for name in catalog.names("corpora")}
    for name, corpus in corpora.items():
        yield f"corpora/{name}.md", corpus_page(name, corpus)
    yield "corpora/index.md", corpus_list(corpora)


def header_of(path: Path) -> str:
    """Return the comment that a YAML file begins with, without its number signs."""
    lines = path.read_text(encoding="utf-8").splitlines()
    count = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:count])


def body_of(path: Path) -> str:
    """Return a YAML file without the comment that it begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    count = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join(lines[count:]).strip("\n")


def labelled(header: str) -> tuple[str, dict[str, str], str]:
    """Cut a recipe's header into its title, its labelled texts and the notes after them."""
    title, _, rest = header.partition("\n")
    while rest and not rest.startswith("\n") and not _LABEL.match(rest):
        line, _, rest = rest.partition("\n")
        title += f" {line.strip()}"
    texts: dict[str, str] = {}
    notes: list[str] = []
    label = ""
    for line in rest.strip("\n").splitlines():
        found = _LABEL.fullmatch(line)
        if found:
            label = found[1]
            texts[label] = found[2]
        elif label and line.startswith("  "):
            texts[label] += f" {line.strip()}" if label != "Command" else f"\n{line.strip()}"
        else:
            label = ""
            notes.append(line)
    return title, texts, "\n".join(notes).strip()


def recipe_page(path: Path, aspects: str | None) -> str:
    """Return the page of a recipe: what its header says, its settings, and what differs from its paper."""
    title, texts, notes = labelled(header_of(path))
    command, first_try = texts.pop("Command", "").splitlines(), texts.pop("Try it", "").splitlines()
    texts.pop("Parity", None)
    lines = [f"({path.stem})=", f"# `{path.stem}`", "", prose(title), ""]
    lines += [*_definitions(texts), *_console(command)]
    lines += [*(["Try it first:", "", *_console(first_try)] if first_try else []), prose(notes), ""]
    lines += ["## Settings", "", f"All others have their defaults: `audio-ssl pretrain {path.stem} --show` prints"]
    lines += ["every key with a line about it, and [](../keys.md) lists them.", "", *_yaml(path)]
    if aspects:
        lines += ["## Beside the paper's code", "", "[What *same* and *deliberate* mean](../../recipes.md).", ""]
        lines += [aspects]
    return "\n".join(lines) + "\n"


def recipe_list(headers: Mapping[str, str], published: Iterable[str]) -> str:
    """Return the page that leads to each recipe."""
    known = set(published)
    others = [name for name in headers if name not in known]
    lines = ["# Every recipe", "", "How to choose one, change one and write one: [](../../recipes.md).", ""]
    for title, names in (("As published", sorted(known & set(headers))), ("In small", others)):
        lines += [f"## {title}", "", "| recipe | what it is |", "|---|---|"]
        lines += [f"| [`{name}`]({name}.md) | {_cell(labelled(headers[name])[0])} |" for name in names]
        lines += ["", *_contents(names)]
    lines += [*_whole("Mixes of corpora", "recipes/mixes"), *_whole("Studies", "recipes/studies")]
    return "\n".join(lines) + "\n"


def probe_page(path: Path) -> str:
    """Return the page of a probe: its question, what is known of it, its settings."""
    title, _, notes = header_of(path).partition("\n")
    lines = [f"({path.stem})=", f"# `{path.stem}`", "", prose(title), ""]
    lines += ["```console", f"$ audio-ssl probe {path.stem} MODEL data.manifest=M.jsonl --out RESULTS", "```", ""]
    lines += [prose(notes), ""]
    suites = {name: body_of(catalog.find("probes/suites", name)) for name in catalog.names("probes/suites")}
    inside = [name for name, suite in suites.items() if re.search(rf"^  {path.stem}:", suite, re.MULTILINE)]
    if inside:
        lines += [f"Part of {', '.join(f'`{name}`' for name in inside)}.", ""]
    lines += ["## Settings", "", f"All others have their defaults: `audio-ssl probe {path.stem} --show` prints every"]
    lines += ["key with a line about it, and [](../keys.md) lists them.", "", *_yaml(path)]
    return "\n".join(lines) + "\n"


def probe_list() -> str:
    """Return the page that leads to each probe, and that says what the suites hold."""
    lines = ["# Every probe", "", "What a probe does and how it is scored: [](../../probing.md).", ""]
    names = catalog.names("probes")
    groups = {title: [name for name in names if part in name] for part, title in _KIND_OF_PROBE.items()}
    groups["Others"] = [name for name in names if not any(part in name for part in _KIND_OF_PROBE)]
    for title, members in groups.items():
        lines += [f"## {title}", "", "| probe | what it asks |", "|---|---|"]
        for name in members:
            question = header_of(catalog.find("probes", name)).partition("\n")[0]
            lines.append(f"| [`{name}`]({name}.md) | {_cell(question)} |")
        lines += ["", *_contents(members)]
    return "\n".join([*lines, *_whole("Suites", "probes/suites")]) + "\n"


def corpus_page(name: str, corpus: LoadedCorpus) -> str:
    """Return the page of a corpus: its card, and the docstring of its file."""
    card = corpus.card
    lines = [f"(corpus-{name})=", f"# `{name}`", "", f"**{prose(card.title)}.** {prose(card.description)}", ""]
    fetch = " --fetch" if corpus.fetch else ""
    lines += ["```console", f"$ audio-ssl manifest {name}{fetch} --root DATA --out M.jsonl", "```", ""]
    facts = {
        "Licence": card.licence,
        "Size": card.size,
        "Columns": ", ".join(f"`{label}`" for label in card.labels),
        "Languages": ", ".join(card.languages),
        "Options": ", ".join(f"`--option {one}=…`" for one in corpus.options if one not in ("columns", "written")),
        "Needs": ", ".join(f"`{one}`" for one in card.requires),
        "Credit": card.citation,
    }
    lines += _definitions({label: text for label, text in facts.items() if text})
    lines += ["| split | what it is |", "|---|---|"]
    lines += [f"| `{split}` | {_cell(text)} |" for split, text in card.splits.items()]
    tree = ast.parse(catalog.find("corpora", name).read_text(encoding="utf-8"))
    text = (ast.get_docstring(tree) or "").replace("::\n", ":\n")
    lines += ["", "## What the reader does", "", _keep_code(text)]
    return "\n".join(lines) + "\n"


def corpus_list(corpora: Mapping[str, LoadedCorpus]) -> str:
    """Return the page that leads to each corpus."""
    lines = ["# Every corpus", "", "How manifests are made, mixed and balanced: [](../../corpora.md).", ""]
    brought = [name for name, corpus in corpora.items() if corpus.fetch]
    own = [name for name in corpora if name not in brought]
    for title, names in (("Brought or made by `--fetch`", brought), ("Read from your copy", own)):
        lines += [f"## {title}", "", "| corpus | what | size |", "|---|---|---|"]
        for name in names:
            card = corpora[name].card
            lines.append(f"| [`{name}`]({name}.md) | {_cell(card.title)} | {_cell(card.size)} |")
        lines += ["", *_contents(names)]
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Return the page of all commands: what ``audio-ssl COMMAND --help`` prints."""
    text: str = app.generate_docs(output_format="markdown")
    text = re.sub(r"## Table of Contents\n.*?(?=\*\*Commands\*\*)", "", text, count=1, flags=re.DOTALL)
    head, _, rest = text.partition("\n")
    assert head == "# audio-ssl", head
    rest = re.sub(r"^(#+) audio-ssl (--install-completion|\w[\w ]*)$", r"\1 `audio-ssl \2`", rest, flags=re.MULTILINE)
    rest = re.sub(r"\]\(#audio-ssl-+([\w-]+)\)", lambda found: f"](#audio-ssl-{found[1].strip('-')})", rest)
    # The program that builds the documentation is no part of a command.
    rest = re.sub(r"^(audio-ssl .*?) -m [\w.]+", r"\1", rest, flags=re.MULTILINE)
    rest = re.sub(r"`docs/(\w+)\.md`", r"[](../\1.md)", rest)
    return f"# Every command\n{rest}"


def parity_parts(text: str) -> dict[str, str]:
    """Cut the table of what differs from papers into the part of each recipe."""
    found = re.split(r"^### (\w+)\n", text, flags=re.MULTILINE)
    return {name: part.strip("\n") for name, part in zip(found[1::2], found[2::2], strict=True)}


def prose(text: str) -> str:
    """Return a comment's or a card's text as Markdown: what would be markup is itself, files of docs are links."""

    def outside(part: str) -> str:
        part = re.sub(r"(?<!\\)([*<\[\]_])", r"\\\1", part)
        return re.sub(
            r"docs/([\w\\-]+?)\.md(?:#[\w\\-]+)?", lambda m: f"[](../../{m[1].replace(chr(92), '')}.md)", part
        )

    return "`".join(part if number % 2 else outside(part) for number, part in enumerate(text.split("`")))


def _keep_code(text: str) -> str:
    """Return a docstring's text as Markdown; indented lines are code already."""
    return "\n".join(line if line.startswith("    ") else prose(line) for line in text.splitlines())


def _cell(text: str) -> str:
    return prose(" ".join(text.split())).replace("|", "\\|")


def _definitions(texts: Mapping[str, str]) -> list[str]:
    """Return a list of terms with what is said of each."""
    lines: list[str] = []
    for label, text in texts.items():
        lines += [label, f": {text if '`' in text and label == 'Columns' else prose(text)}", ""]
    return lines


def _console(command: list[str]) -> list[str]:
    """Return a header's command as a block to copy, and what the header says below it."""
    if not command:
        return []
    count = 1 + next(number for number, line in enumerate(command) if not line.endswith("\\"))
    block = [f"$ {command[0]}", *(f"    {line}" for line in command[1:count])]
    return ["```console", *block, "```", "", *(prose(line) for line in command[count:]), ""]


def _whole(title: str, folder: catalog.Folder) -> list[str]:
    """Return a section with the headers and contents of the few cards of a folder."""
    lines = [f"## {title}", ""]
    for name in catalog.names(folder):
        path = catalog.find(folder, name)
        about, texts, notes = labelled(header_of(path))
        command = texts.pop("Command", "").splitlines()
        lines += [f"### `{name}`", "", prose(about), "", *_definitions(texts), *_console(command)]
        lines += [prose(notes), "", *_yaml(path)]
    return lines


def _yaml(path: Path) -> list[str]:
    return ["```yaml", body_of(path), "```", ""]


def _contents(names: Iterable[str]) -> list[str]:
    """Return the table of contents that puts pages into the sidebar, and shows nothing itself."""
    return ["```{toctree}", ":hidden:", "", *names, "```", ""]
