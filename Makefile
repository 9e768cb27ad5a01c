# Every target sets up its own virtual environment; nothing but Python >= 3.11, pip and make is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.asediff-ready
# Threads are chosen by asediff; libraries that start their own get one each.
export OMP_NUM_THREADS ?= 1
# Processes of the tests; a process that has none left to do takes some from another.
PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest -n $(PROCESSES) --dist worksteal

.PHONY: help demo test slow slurm robust lint format types layers examples docs bench ci clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)  ## coarse-grained water from a short SPC/E run to a verified LAMMPS table, in minutes
	$(BIN)/python -m asediff.cli.demo

.PHONY: notebooks
notebooks: $(READY)  ## execute the notebooks, with their output, to build/notebooks; ASEDIFF_NOTEBOOKS=short shortens them
	$(BIN)/python workflows/run_notebooks.py --output build/notebooks

test: $(READY)  ## the tests, in PROCESSES=2 processes
	$(PYTEST)

slow: $(READY)  ## the long physics tests
	$(PYTEST) -m slow

slurm: $(READY)  ## chains on the SLURM cluster that tests/slurm/start.sh starts
	$(PYTEST) -n 0 -m slurm tests/slurm

robust: $(READY)  ## sampled tests with 20 seeds and four instruction sets, about an hour
	$(BIN)/python -m tests.robust --processes $(PROCESSES)

lint: $(READY)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)  ## mypy
	$(BIN)/mypy

layers: $(READY)  ## import-linter: who may import whom
	$(BIN)/lint-imports

examples: $(READY)  ## run the examples and the README's code
	$(BIN)/python -m pytest -q tests/test_documents.py

docs: $(READY)  ## the documentation site, in docs/_build/html; ASEDIFF_DOCS_EXECUTE=0 leaves its notebooks unexecuted
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -c docs -d docs/_build/doctrees . docs/_build/html

bench: $(READY)  ## measure asediff beside LAMMPS
	$(BIN)/python -m tests.benchmarks

ci: $(READY)  ## everything that must pass
	.ci/run

clean:  ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache demo docs/_build
