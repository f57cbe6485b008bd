# Two commands for a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCE ?=
# Else every process that is started compiles torch anew.
unexport PYTHONDONTWRITEBYTECODE
QUICK := $(addprefix tests/,explain evaluate film nets engine learn scenes measure show events test_cli.py test_config.py \
	test_machine.py test_package.py test_read_scene.py test_redact.py test_roster.py)
# They start processes, and mostly wait.
WAITING := $(addprefix tests/,faults/test_processes.py faults/test_cameras.py faults/test_roster.py faults/test_choices.py \
	capture bench link/test_hosts.py events/test_recorder.py live/test_for_machines.py)

.PHONY: demo test thorough check bench figures truth clean

demo: $(VENV)/.installed
	@$(BIN)/rtx demo $(if $(SOURCE),'$(SOURCE)')

test: $(VENV)/.tested
	@sh tests/system-packages.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 4 --max-worker-restart 0 --dist loadfile $(QUICK) $(addprefix --ignore=,$(WAITING))
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --max-worker-restart 0 --dist worksteal $(WAITING)
	@# What looks at the clock has the machine to itself.
	$(BIN)/python -m pytest $(addprefix --ignore=,$(QUICK) $(WAITING))

# Real clips through the largest network, once more and in other ways: takes minutes.
thorough: $(VENV)/.tested
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m thorough

check: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.tested
	$(BIN)/python -m benchmarks.handover
	$(BIN)/python -m benchmarks.live
	$(BIN)/python -m benchmarks.rtsp
	$(BIN)/python -m benchmarks.viewers
	$(BIN)/python -m benchmarks.scenes
	$(BIN)/python -m benchmarks.continual
	$(BIN)/python -m benchmarks.localisation
	$(BIN)/python -m benchmarks.truth
	$(BIN)/python -m benchmarks.explainers
	$(BIN)/python -m benchmarks.gallery
	$(BIN)/python -m benchmarks.readme

# Trains models/figures from scratch: most of an hour on two cores. It goes on where it was broken off.
figures: $(VENV)/.installed
	$(BIN)/python -m rtx.learn.figures

# Trains the networks that explainers are tried on (TRUTH.md says how long that took), then measures explainers (some
# 100 minutes more).
# It goes on where it was broken off; `python -m rtx.learn.trials --anew` begins again.
truth: $(VENV)/.tested
	$(BIN)/python -m rtx.learn.trials
	$(BIN)/python -m benchmarks.truth
	$(BIN)/python -m benchmarks.studies
	$(BIN)/python -m benchmarks.papers
	$(BIN)/python -m benchmarks.tables

clean:
	rm -rf $(VENV) dist build

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet -e .
	@touch $@

$(VENV)/.tested: pyproject.toml | $(VENV)/bin/python $(VENV)/axe
	$(BIN)/pip install --quiet --no-compile -e '.[dev]' matplotlib click tqdm pandas scikit-learn scikit-image cachetools
	@# What explainers and measures are compared with: with all their dependencies they would bring another torch.
	$(BIN)/pip install --quiet --no-compile --no-deps torchcam==0.5.0 captum==0.7.0 zennit==0.5.1 grad-cam==1.5.5 \
		quantus==0.6.0
	@touch $@ $(VENV)/.installed

# Looks for what a reader cannot use on the page; without npm that one test skips.
$(VENV)/axe: | $(VENV)/bin/python
	@! command -v npm >/dev/null || npm install --silent --no-fund --no-audit --prefix $@ axe-core@4.14.1
