# Everything a fresh clone needs. `make demo` explains real photographs; `make test` shows that the answers hold.
# Needs Python 3.11 or newer with pip, and make. Nothing is installed outside this folder.

.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:

PYTHON  ?= python3
WORKERS ?= 2
BIN     := .venv/bin
TOOLS   := .tools

# One thread a process: with two test workers on two cores, more threads only wait for each other.
export OMP_NUM_THREADS ?= 1
export UV_PYTHON_DOWNLOADS := never
export UV_PYTHON           := $(PYTHON)
export UV_PROJECT_ENVIRONMENT := .venv
# The certificates that the system trusts, as pip does.
export UV_SYSTEM_CERTS ?= true

# uv from the path if there is one, else fetched once into $(TOOLS).
UV := $(shell command -v uv 2>/dev/null || echo $(TOOLS)/bin/uv)

# What annotations are checked over: a part of every room, about a minute on one core.
SHAPES := tests/oracles tests/engine/test_evidence.py tests/trust/test_localisation_oracles.py \
  tests/trust/test_faithfulness_oracles.py tests/language/test_claims.py tests/results tests/canvas tests/report \
  tests/testbed/test_truth.py tests/testbed/test_fields.py tests/testbed/test_nets.py

.PHONY: help setup demo test shapes lint format types bench pointing retrain seeds docs clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: .venv/.demo  ## explain real photographs, rendered scenes and digits; prints where the report is
	$(BIN)/pellucid demo

test: .venv/.setup  ## run all tests on two workers; a folder or name: make test ARGS="tests/images -k alpha"
	$(BIN)/pytest -n $(WORKERS) --dist loadfile $(ARGS)
	$(if $(ARGS),,$(MAKE) shapes)

shapes: .venv/.setup  ## run a part of the tests with every annotated type and shape checked
	PELLUCID_CHECK_SHAPES=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile --durations=0 --durations-min=5 $(SHAPES)

lint: .venv/.setup  ## style and suspicious code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.setup  ## put the code in its usual form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/.setup  ## types, strict on the public surface
	$(BIN)/pyright --project pyproject.toml

bench: .venv/.setup  ## speed against Captum and pytorch-grad-cam; writes benchmarks/RESULTS.md
	$(BIN)/python benchmarks/speed.py $(ARGS)

pointing: .venv/.setup  ## how often the map shown first hits the part that decides, on fresh scenes
	for model in cnn vit; do $(BIN)/pellucid testbed evaluate --model testbed:$$model --scenes 200 $(ARGS) || exit; done

retrain: .venv/.setup  ## train nets of the testbed again from their seeds and compare with their cards; minutes
	PELLUCID_RETRAIN=1 $(BIN)/pytest tests/testbed/test_train_again.py $(ARGS)

seeds: .venv/.setup  ## twenty clean and twenty biased nets from seeds, for claims about training; may be broken off
	$(BIN)/pellucid testbed train-seeds $(ARGS)

docs: .venv/.setup  ## the pages as static HTML in site/
	$(BIN)/python docs/build.py $(ARGS)

setup: .venv/.setup  ## the whole development environment in .venv

clean:  ## remove everything that was made here, the environment too
	rm -rf .venv $(TOOLS) uv.lock site build dist pellucid-report pellucid-demo .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --inexact: neither of the two environments takes away what the other brought.
.venv/.demo: pyproject.toml | $(UV)
	$(UV) sync --inexact --extra real
	touch $@

.venv/.setup: pyproject.toml | $(UV)
	$(UV) sync --inexact --all-extras --all-groups
	touch $@ .venv/.demo

$(TOOLS)/bin/uv:
	$(PYTHON) -m pip install --quiet --target $(TOOLS) 'uv>=0.9'
