# make demo     compile the shipped network, simulate it, compare it: three accuracies, differing bits
# make test     lint, types, import contracts and every test
# make random   500 random networks: PyTorch = Graph, Program = NumPy code; make simulate: 50 in Verilator
# make gallery  the table of examples/gallery: recognition, PyTorch, Program, NumPy code, Verilog
# make kill     training killed ten times at random moments ends with the same bytes
# make counts   operations of every network of examples/gallery at full width
# make check-report  opens report.html in headless Chromium (Debian's packages chromium, chromium-driver)
# All make .venv and install exactly what requirements.lock names. PYTHON=python3.12 chooses another
# Python; a C++ compiler, perl and make are the machine's.

PYTHON ?= python3
WORKERS ?= 2
DEMO_DIR ?= build/digits.r2b
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock

.PHONY: demo test random simulate gallery counts kill check-report lint format types contracts check lock clean

demo: .venv/demo.stamp
	mkdir -p build
	$(BIN)/python examples/digits/demo.py --output $(DEMO_DIR)

test: .venv/test.stamp lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

random: .venv/test.stamp
	R2B_EXAMPLES=500 $(BIN)/python -m pytest tests/networks/test_random.py

simulate: .venv/test.stamp
	R2B_VERILOG_EXAMPLES=50 $(BIN)/python -m pytest tests/networks/test_random_verilog.py

gallery: .venv/test.stamp
	mkdir -p build
	$(BIN)/python benchmarks/gallery.py --state build/gallery.jsonl --markdown build/gallery.md

kill: .venv/test.stamp
	$(BIN)/python benchmarks/kill.py --kills 10

counts: .venv/test.stamp
	$(BIN)/python benchmarks/gallery_counts.py --markdown

check-report: .venv/demo.stamp
	mkdir -p build
	$(BIN)/r2b-compile examples/digits/digits.pt --target cost -f -o build/report
	$(BIN)/python benchmarks/check_report.py build/report --screenshots build/report-pictures

check: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/test.stamp
	$(BIN)/pyright --project pyproject.toml --pythonpath $(BIN)/python

contracts: .venv/test.stamp
	$(BIN)/lint-imports

lint: check types contracts

format: .venv/test.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("r2b needs Python 3.11 or newer: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/demo.stamp: .venv/bin/python requirements.lock pyproject.toml
	$(INSTALL) setuptools wheel
	$(INSTALL) --no-build-isolation -e .
	touch $@

.venv/test.stamp: .venv/demo.stamp
	$(INSTALL) --no-build-isolation -e '.[test]'
	touch $@

# torch's local build tag and CUDA libraries belong to one index, not to the release
lock: .venv/test.stamp
	mkdir -p build
	sed -n '/^#/p' requirements.lock > build/lock && \
	$(BIN)/python -m pip freeze --all --exclude-editable --exclude pip \
	| sed 's/+cpu$$//' | grep -viE '^(nvidia|cuda|triton)' \
	| tr '[:upper:]_' '[:lower:]-' | LC_ALL=C sort >> build/lock && mv build/lock requirements.lock

clean:
	rm -rf .venv build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
