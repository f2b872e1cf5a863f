# make demo: the main job in a few minutes on a laptop.   make test: everything that guards the platform.
# make docs: the documentation site, offline, in site/.   make docs-test: its code blocks and notebooks, run.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: demo test lint types bench docs docs-test clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $(STAMP)

# Phantom cohort, the plain U-Net and SG-Net with site 5 held out (the site the paper tried its settings on), report.html.
demo: $(STAMP)
	$(PY) train.py experiment=sgnet_small split.fold=Site5 model=unet2d run_dir=demo/unet2d
	$(PY) train.py experiment=sgnet_small split.fold=Site5 model=sgnet run_dir=demo/sgnet
	$(PY) evaluate.py runs=[demo/unet2d,demo/sgnet] out=demo/evaluation

# One thread each; many tests wait for processes. Bytecode is kept: hundreds of processes import the same modules.
test: $(STAMP)
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(PY) -m pytest --quiet -n 3 --dist loadscope --no-loadscope-reorder

lint: $(STAMP)
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/lint-imports

types: $(STAMP)
	$(VENV)/bin/mypy

bench: $(STAMP)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(PY) -m benchmarks

# Warnings are errors. mkdocs-material announces other products in a warning of its own, which this variable leaves out.
docs: $(STAMP)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
	@echo "Site: site/index.html; with search: $(PY) -m http.server --directory site"

docs-test: $(STAMP)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	OMP_NUM_THREADS=1 $(PY) -m pytest --quiet docs_site/checks tests/system/test_system_own_parts.py

clean:
	rm -rf $(VENV) demo outputs multirun site
