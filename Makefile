# `make demo` and `make test` need Python 3.11 or newer, pip and make; everything is set up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DATA ?= ../shared/data
CHAIN ?= chain-crc27
STUDY ?= study/crc27
JOBS ?= auto

.PHONY: demo test lint check-long chain-crc27 study-small clean-venv help

help: ## what can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /: /'

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $(STAMP)

demo: $(STAMP) ## set up, then run the whole chain on small slides made on the spot
	$(BIN)/w2wpath demo

# one process a core, each with one thread of its own: two threads in one process are slower than two processes
test: $(STAMP) lint ## set up, then lint, type-check and run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(STAMP) ## ruff, ruff format, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check-long: $(STAMP) ## the tests that take minutes
	$(BIN)/python -m pytest -m long

chain-crc27: $(STAMP) ## the four commands on the crc27 cohort of the test data, timed and scored
	$(BIN)/python pipelines/crc27/chain.py --data $(DATA)/crc27 --out $(CHAIN)

study-small: $(STAMP) ## the small study on the crc27 cohort of the test data; an interrupted one goes on
	$(BIN)/w2wpath run pipelines/crc/study-small.toml --data $(DATA)/crc27 -o $(STUDY) --workers 2

clean-venv: ## remove the set-up
	rm -rf $(VENV)
