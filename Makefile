# make demo   the whole path in small              make lint    ruff, mypy, import-linter
# make test   everything a change must pass         make docs    the documentation, as HTML
# make bench  side-by-side measurements             make look    the demo's report in headless Chromium
# make fuzz   damaged inputs of every kind          make clean   remove what make made
# make small  the shipped model, from nothing: fetches what it hears, trains for hours, goes on where it was stopped
# make test-latest  the tests with the newest torch and transformers
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
LATEST := .venv-latest

.PHONY: demo small test test-latest fuzz lint docs bench look look-docs install clean

demo: install
	$(BIN)/audio-ssl demo --out runs/demo --data data

# LIBRISPEECH=FOLDER adds the subsets of LibriSpeech that lie there.
small: install
	$(BIN)/audio-ssl manifest small --fetch --root data --out data/small.jsonl \
	  $(if $(LIBRISPEECH),--option "librispeech=$(LIBRISPEECH)")
	$(BIN)/audio-ssl pretrain small data.manifest=data/small.jsonl --out runs/small --resume

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# Damaged inputs of every kind through the command line for five minutes; another SEED, other damage.
fuzz: install
	$(BIN)/python -W ignore -m tests.fuzz --seconds 300 --seed $(or $(SEED),0)

# The newest torch and transformers that pip gives, in an environment of its own: without constraints.txt, and without
# fairseq2, which pins torch. The first line of the tests says which versions they saw. TESTS=tests/interop runs a part.
test-latest:
	test -x $(LATEST)/bin/python || $(PYTHON) -m venv $(LATEST)
	$(LATEST)/bin/python -m pip install --quiet --upgrade pip
	$(LATEST)/bin/python -m pip install --quiet --upgrade torch transformers \
	  --editable '.[teachers,probing,corpora,decode,transformers,torchaudio,hub,ray,adapt,onnx]' --group test
	$(LATEST)/bin/python -m pip install --quiet --no-deps tinysoundfont
	OMP_NUM_THREADS=1 $(LATEST)/bin/python -m pytest -n 2 --dist loadfile $(TESTS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

bench: install
	$(BIN)/python benchmarks/teachers.py --quick --out benchmarks/results/teachers_quick.json

# Opens the demo's reports in headless Chromium: wide, phone, dark and printed; fails on any console message and on
# what axe-core finds. Of the package that carries axe-core only the script is used, not the browsers it asks for.
look: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps axe-playwright-python
	$(BIN)/python benchmarks/render_report.py runs/demo/report.html runs/demo/fairness.html --out runs/demo/pictures

# Every page of the documentation, on a phone and on a wide screen: fails where one is wider than its view.
look-docs: docs
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps axe-playwright-python
	$(BIN)/python benchmarks/render_site.py docs/_build/html

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "audio_ssl needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV): about 8 GB, three minutes on a fast line."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]' \
	  --group test --group lint --group docs
	# tinysoundfont declares PortAudio bindings, which rendering to a file does not need.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps tinysoundfont
	touch $@

clean:
	rm -rf $(VENV) $(LATEST) runs docs/_build docs/generated build dist
