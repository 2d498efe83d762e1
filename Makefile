# The two commands that matter: `make demo` runs the main job, `make test` passes the tests.
# Both set themselves up first; what is already there is left alone.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A pip index or folder that carries torch's CPU build (0.2 GB in place of 4.5 GB), when you have one:
#   make setup TRIMTAB_TORCH_INDEX=<index URL>   or   TRIMTAB_TORCH_WHEELS=<folder>
TRIMTAB_TORCH_INDEX ?=
TRIMTAB_TORCH_WHEELS ?=
DEMO_ARGS ?=
GRAFANA_ARGS ?=
# Images: where they are pushed, wheels for the stage image, another base image, more of the script's arguments.
REGISTRY ?=
WHEELS ?=
BASE ?=
IMAGES_ARGS ?=
PYTEST_ARGS ?=
export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help setup servers test-servers demo grafana test test-slow lint format clean images cluster-up bench-drift bench-judge bench-loop bench-serving cluster-loop

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 18

setup: $(STAMP) ## virtual environment and pinned dependencies (instant when there)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Trimtab needs Python 3.11: '$(PYTHON)' was not found. Name yours: make setup PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"Trimtab needs Python 3.11, {sys.executable} is {v.major}.{v.minor}: make setup PYTHON=/path/to/python3.11") if v[:2] != (3, 11) else None'
	@echo "== setup: virtual environment in $(VENV), about 240 packages (3-5 minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if [ -n "$(TRIMTAB_TORCH_INDEX)$(TRIMTAB_TORCH_WHEELS)" ]; then echo "== setup: torch's CPU build"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "torch==2.13.0+cpu" \
	    $(if $(TRIMTAB_TORCH_INDEX),--extra-index-url "$(TRIMTAB_TORCH_INDEX)") $(if $(TRIMTAB_TORCH_WHEELS),--find-links "$(TRIMTAB_TORCH_WHEELS)"); fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r <($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"], sep="\n")')
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	@$(BIN)/python -m compileall -q -j 2 components pipelines serving monitoring
	@touch $(STAMP)
	@echo "== setup: done, try $(BIN)/trimtab --help"

servers: $(STAMP) ## the real servers that all tests use, into .servers/ (instant when there)
	@$(BIN)/python -m tests.servers.install

test-servers: $(STAMP)
	@$(BIN)/python -m tests.servers.install --without-containers

demo: setup ## the main job: the whole loop on this machine (DEMO_ARGS="--shuffle --seed 1 --out facts.json")
	@$(BIN)/trimtab demo $(DEMO_ARGS)

grafana: setup ## the dashboards in a real Grafana here (TRIMTAB_GRAFANA=<folder>, PATH or Docker; GRAFANA_ARGS="--check")
	@$(BIN)/python -m dashboards.grafana $(GRAFANA_ARGS)

images: ## the container images, tagged by content (REGISTRY=<host/path> pushes and prints digests, WHEELS=<folder>)
	@$(PYTHON) manifests/images/build.py $(if $(REGISTRY),--registry "$(REGISTRY)") $(if $(WHEELS),--wheels "$(WHEELS)") \
	  $(if $(TRIMTAB_TORCH_INDEX),--torch-index "$(TRIMTAB_TORCH_INDEX)") $(if $(BASE),--base "$(BASE)") $(IMAGES_ARGS)

cluster-up: ## a kind cluster with everything the loop needs (CLUSTER_ARGS="--no-kind" for the current context)
	@manifests/cluster-up $(CLUSTER_ARGS)

test: setup test-servers ## all tests but the long ones, under 10 minutes
	@$(BIN)/python -m pytest -q -m "not campaign and not images and not cluster" $(PYTEST_ARGS)

test-slow: setup servers ## the long campaigns, images and cluster tests
	@$(BIN)/python -m pytest -q -m "campaign or images or cluster" --timeout=1800 $(PYTEST_ARGS)

bench-drift: setup ## the watch: false alarms, power and cost, against Evidently (15 minutes, 10 GB of disk meanwhile)
	@$(BIN)/python -m benchmarks.drift $(BENCH_ARGS)

bench-loop: setup ## ways of retraining compared on streams with known drifts (10 minutes)
	@$(BIN)/python -m benchmarks.loop $(BENCH_ARGS)

bench-judge: setup ## the judge: false promotions and false rollbacks over simulated rollouts (5 minutes)
	@$(BIN)/python -m benchmarks.judge $(BENCH_ARGS)

bench-serving: setup ## the model server against a bare app, KServe, MLServer, BentoML, LitServe (15 minutes, 1.5 GB in .bench/)
	@$(BIN)/python -m benchmarks.serving $(BENCH_ARGS)

cluster-loop: setup servers ## the mission on a Kubernetes node: drift to promotion, and a rollback (10-15 minutes; root, Debian)
	@$(BIN)/python -m benchmarks.cluster_loop $(BENCH_ARGS)

lint: setup ## ruff, mypy --strict, pyright, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pyright
	@$(BIN)/lint-imports

format: setup ## ruff's formatter and safe fixes
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

clean: ## remove what setup and servers made (the store in .trimtab stays)
	rm -rf $(VENV) .servers .mypy_cache .ruff_cache .pytest_cache
