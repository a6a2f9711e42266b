# Each target makes .venv and installs what it needs by itself; wanted beforehand: Python 3.11, make and git.

PYTHON ?= $(or $(shell command -v python3.11),python3)
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.installed
NETWORKS := $(VENV)/.networks
# A file's tests share its servers and runs, so they stay together.
PYTEST_FLAGS ?= -n 2 --dist loadfile --no-loadscope-reorder
ONLY ?=
VERSION ?=
SEED ?=
SECONDS ?=
FULL ?=
MINUTES ?=
MARKET ?= $(or $(CRYPTOAI_MARKET),sample)
FLAGS ?=

export CRYPTOAI_MARKET := $(MARKET)
# No library reports home, and none takes all cores for one row.
export BENTOML_DO_NOT_TRACK := True
export DAGSTER_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := true
export HF_HUB_OFFLINE := 1
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help bento charts demo edge pictures sandbox record networks test storm fuzz up check bench soak evaluate reproduce
.PHONY: format-check lint types contracts

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(READY) ## materialize the whole asset graph on the embedded sample and print a summary
	@$(RUN) -m cryptoai_assets.demo $(FLAGS)

sandbox: $(READY) ## simulated venues on loopback, to try the live mode on: make up MARKET=sandbox beside it
	@$(RUN) -m cryptoai_assets.sandbox $(FLAGS)

record: $(READY) ## record order book and trades until Ctrl-C: make record MARKET=live
	@$(RUN) -m cryptoai_assets.record

networks: $(NETWORKS) ## PyTorch beside the rest, to train networks: CRYPTOAI_MODELS=lightgbm,lstm make demo

charts: $(NETWORKS) ## train the chart networks on the sample, or go on, and ship their weights (hours)
	@$(RUN) -m cryptoai_assets.charts

test: $(NETWORKS) ## run all tests
	@CRYPTOAI_MARKET=sample $(RUN) -m pytest $(PYTEST_FLAGS)

edge: $(READY) ## what a Raspberry Pi is installed from, with the champion inside, into edge/
	@$(RUN) -m cryptoai_assets.edge $(FLAGS)

storm: $(READY) ## ingestion killed and cut off 50 times each under every fault, a week of a device killed 100 times, and the watch 40 times (SEED=1 repeats it)
	@PYTHONPATH=tests $(RUN) -m storm $(SEED)

fuzz: $(READY) ## every parser fed with what nobody sends, SECONDS=60 each; findings in build/fuzz (ONLY=feeds, SEED=1)
	@PYTHONPATH=tests $(RUN) -m fuzz $(ONLY) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

up: $(READY) ## Dagster UI, MLflow UI and the forecast endpoint together; Ctrl-C ends all three
	@$(RUN) -m cryptoai_assets.up $(FLAGS)

check: format-check lint types contracts test ## what CI runs: format, lint, types, import contracts, tests

bento: $(READY) ## the service without the training stack, for a container: bentoml containerize cryptoai:latest
	@$(RUN) -m cryptoai_serving.requirements build/bento/requirements.txt
	@$(RUN) -m bentoml build --output tag

pictures: $(READY) ## the documentation's pictures of a drift, from Slack, Dagster and Evidently; needs chromium
	@PYTHONPATH=tests $(RUN) -m pictures

bench: $(READY) ## speed, against a peer or the limit, into build/bench.json (ONLY=features runs one room)
	@PYTHONPATH=tests $(RUN) -m benchmarks $(ONLY)

soak: $(READY) ## the service at 50 requests a second for ten minutes, its memory watched (SECONDS=60 for less)
	@PYTHONPATH=tests $(RUN) -m soak $(if $(SECONDS),--seconds $(SECONDS))

evaluate: $(if $(FULL),$(NETWORKS),$(READY)) ## quality on real data, with baselines and intervals, into build/evaluate.json (ONLY=room, FULL=1, MINUTES=25, SYMBOL=ETHUSD)
	@$(RUN) -m cryptoai_assets.evaluate $(ONLY) $(if $(FULL),--full) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SYMBOL),--symbol $(SYMBOL))

reproduce: $(READY) ## train a registered version again from its record: make reproduce VERSION=1
	@$(RUN) -m cryptoai_assets.reproduce $(or $(VERSION),$(error which version? make reproduce VERSION=1))

format-check: $(READY)
	@$(RUN) -m ruff format --check .

lint: $(READY)
	@$(RUN) -m ruff check .

types: $(NETWORKS)
	@$(RUN) -m mypy

contracts: $(READY)
	@$(RUN) -c "from importlinter.cli import lint_imports_command as run; run()" --no-logo

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "Python 3.11 is needed and $(PYTHON) is not one: make PYTHON=/path/to/python3.11 …"; exit 1; }
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV): a few minutes the first time …"
	@$(RUN) -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

# The largest of all requirements: only those wait for it who train networks, or check that they are trained.
$(NETWORKS): $(READY)
	@echo "Installing PyTorch into $(VENV) …"
	@$(RUN) -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[dev,networks]"
	@touch $@
