# CRISP: `make help` lists the targets.

# The Python that `.venv` is made with; a newer one is looked for where this is older than 3.11.
PYTHON ?= python3

# make demo
CLASSES ?=
CONFIG ?=

# make rtl, make fpga: a preset's name or a TOML or JSON file
RTL_CONFIG = $(or $(CONFIG),tiny)
BUILD_NAME = $(basename $(notdir $(RTL_CONFIG)))

# make fpga
DEVICE ?= 85k
PACKAGE ?= CABGA756
SPEED ?= 6
SEED ?= 1

# make experiments
EXPERIMENT ?= examples/experiments/fashion.toml

# make test: how many at a time, and what else to tell pytest, for example ARGS='-k requantize'
JOBS ?= 2
ARGS ?=

# One thread each: the tests and the trainings share the cores among themselves, and results repeat.
export OMP_NUM_THREADS ?= 1

BIN = .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test soak lint format rtl fpga bench train experiments docs clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  Each target sets up what it needs. Variables, with a demo of three classes as an example:"
	@echo "  make demo CLASSES=sandal,sneaker,bag CONFIG=default    make test ARGS='-k requantize'    make rtl CONFIG=my.toml"

setup:  ## make .venv with all tools (the first time some minutes, then 0.1 s)
	@command -v "$(PYTHON)" >/dev/null || { echo "set-up: $(PYTHON) is missing: install Python 3.11 or newer (Debian: apt-get install python3)" >&2; exit 1; }
	@"$(PYTHON)" tools/set_up.py

demo: setup  ## prune a network for a few classes, run it on the simulated engine, compare (CLASSES= CONFIG=)
	@$(BIN)/crisp demo $(if $(CLASSES),--classes "$(CLASSES)") $(if $(CONFIG),--config "$(CONFIG)")

test: setup  ## run the tests, but for the slow ones (JOBS= ARGS=)
	@$(BIN)/python -m pytest -n $(JOBS) --durations=15 -m "not slow" $(ARGS)

soak: setup  ## run all tests, the slow ones as well (JOBS= ARGS=)
	@$(BIN)/python -m pytest -n $(JOBS) --durations=15 $(ARGS)

lint: setup  ## check style, format and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: setup  ## put sources in their format
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

rtl: setup  ## write build/rtl/CONFIG/crisp_accelerator.v (CONFIG=, tiny when not given)
	@$(BIN)/python -m crisp_hw.verilog --config "$(RTL_CONFIG)" --output "build/rtl/$(BUILD_NAME)"

fpga: setup  ## synthesise, place and route the machine for ECP5 (CONFIG= DEVICE= PACKAGE= SPEED= SEED=)
	@$(BIN)/python -m crisp_hw.fpga --config "$(RTL_CONFIG)" --device $(DEVICE) --package $(PACKAGE) --speed $(SPEED) \
		--seed $(SEED) --output "build/fpga/$(BUILD_NAME)"

bench: setup  ## measure cycles, whole networks, area (networks: about an hour; ARGS='--only demo' or '--only networks --networks resnet20-fashion')
	@$(BIN)/crisp bench --jobs $(JOBS) $(ARGS)

train: setup  ## train the checkpoint that the repository ships
	@$(BIN)/crisp train

experiments: setup  ## prune networks in many ways and compare them (hours; EXPERIMENT= JOBS= ARGS='--list'); goes on where it stopped
	@$(BIN)/crisp experiment "$(EXPERIMENT)" --jobs $(JOBS) $(ARGS)

docs: setup  ## write the generated pages of docs/
	@$(BIN)/crisp docs

clean:  ## remove what was built
	rm -rf build

distclean: clean  ## remove the environment as well
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find hw sim sw tests tools -name __pycache__ -prune -exec rm -rf {} +
