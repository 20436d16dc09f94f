# `make demo` and `make test` need Python 3.11 or newer, pip and make; everything is set up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DATA ?= ../shared/data
CHAIN ?= chain-crc27
STUDY ?= study/crc27
JOBS ?= auto
BACKBONES ?= conv5 mobilenetv3_small_050 test_resnet

.PHONY: demo test lint check-long chain-crc27 study-small bench-small bench-backbones study-mnist study-cifar10 clean-venv help

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
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long -n $(JOBS) --dist loadgroup

chain-crc27: $(STAMP) ## the four commands on the crc27 cohort of the test data, timed and scored
	$(BIN)/python pipelines/crc27/chain.py --data $(DATA)/crc27 --out $(CHAIN)

study-small: $(STAMP) ## the small study on the crc27 cohort of the test data; an interrupted one goes on
	$(BIN)/w2wpath run pipelines/crc/study-small.toml --data $(DATA)/crc27 -o $(STUDY) --workers 2

bench-small: $(STAMP) ## the small grids of MNIST and CIFAR-10 of the test data; interrupted ones go on
	$(BIN)/w2wpath bench run pipelines/mnist/grid-small.toml --data $(DATA) -o bench/mnist-small --workers 2
	$(BIN)/w2wpath bench run pipelines/cifar10/grid-small.toml --data $(DATA) -o bench/cifar10-small --workers 2

bench-backbones: $(STAMP) ## Sp-MNIST-20 and Sp-CIFAR10-20 on three backbones, side by side
	for data in mnist cifar10; do \
	  for name in $(BACKBONES); do $(BIN)/w2wpath bench run pipelines/backbones-$$data.toml --backbone $$name --data $(DATA) \
	    -o bench/backbones-$$data-$$name --workers 2 || exit $$?; done; \
	  $(BIN)/w2wpath bench compare $(BACKBONES:%=bench/backbones-$$data-%) -o bench/backbones-$$data.md || exit $$?; done

study-mnist: $(STAMP) ## the grid of MNIST with 3,000 images; hours on two cores, an interrupted one goes on
	$(BIN)/w2wpath bench run pipelines/mnist/grid-3000.toml --data $(DATA) -o bench/mnist-3000 --workers 2

study-cifar10: $(STAMP) ## the same of CIFAR-10
	$(BIN)/w2wpath bench run pipelines/cifar10/grid-3000.toml --data $(DATA) -o bench/cifar10-3000 --workers 2

clean-venv: ## remove the set-up
	rm -rf $(VENV)
