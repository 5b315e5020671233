# What each target needs, it installs: a fresh clone with Python 3.11+ and make is enough.
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
BIN := .venv/bin
# As many tests at once as there are cores, each on one of them; a module's tests share its fixtures. A process of tests
# that dies ends all, by name: replaced, it can wait for ever (pytest-xdist hands it modules that are done).
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 8 --max-worker-restart 0 --dist loadscope --durations=10
LOWEST := .venv-lowest
INSTALLED := .venv/installed
DOCS_INSTALLED := .venv/docs-installed

.PHONY: demo test check slow room coverage lowest docs pacs clean

demo: $(INSTALLED)
	$(BIN)/focusmap demo --out runs/demo --force

test: $(INSTALLED)
	$(PYTEST)

slow: $(INSTALLED)
	$(PYTEST) -m slow

# Page and report in a browser, and a real archive: Debian's chromium, orthanc, orthanc-dicomweb, dcmtk and dicom3tools.
room: $(INSTALLED)
	command -v chromium Orthanc storescu dciodvfy
	$(PYTEST) -rs -m 'slow or not slow' tests/dicom tests/reading_room tests/report

# The tests, with the share of lines and branches that they reach; it fails below the floor in pyproject.toml.
coverage: $(INSTALLED)
	$(PYTEST) --cov --cov-report=term --cov-report=xml

# The tests on the lowest versions that pyproject.toml promises, which need uv to be found.
lowest:
	uv venv --python 3.11 --clear $(LOWEST)
	uv pip compile --quiet pyproject.toml --resolution lowest-direct --python-version 3.11 --output-file $(LOWEST)/lowest.txt
	uv pip install --quiet --python $(LOWEST)/bin/python --requirements $(LOWEST)/lowest.txt --editable . \
		hypothesis pytest pytest-timeout pytest-xdist
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -q -n auto --maxprocesses 8 --dist loadscope

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/typos
	$(BIN)/lint-imports

docs: $(DOCS_INSTALLED)
	$(BIN)/mkdocs build --site-dir site

# An archive to try things with, on this machine alone: Debian's orthanc and orthanc-dicomweb. It holds what it is sent in runs/pacs.
pacs:
	mkdir -p runs/pacs
	Orthanc docs/orthanc.json

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "focusmap needs Python 3.11 or newer; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[dev]'
	touch $@

$(DOCS_INSTALLED): $(INSTALLED)
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[docs]'
	touch $@

clean:
	rm -rf .venv $(LOWEST) build site src/focusmap.egg-info
