# make demo    set everything up and compute the first patterns
# make test    set everything up, check style and types, run all tests
# make docs    build the documentation into build/site; warnings are errors
# make bench   print the benchmark tables that need no other program
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTREADY := $(VENV)/.ready-for-tests

.PHONY: demo test lint docs bench clean

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(TESTREADY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,app,multislice,adaptors,hyperspy,catalog,fetch,docs,dask]"
	touch $@

demo: $(READY)
	mkdir -p demo
	$(BIN)/lacbed simulate SrTiO3 --thickness 300,600,900 --hkl "0,0,0 1,0,0 1,1,0 2,0,0 2,2,0" --absorption thomas -o demo/SrTiO3.png -o demo/SrTiO3.nc
	$(BIN)/lacbed potential SrTiO3 -o demo/SrTiO3-potential.png
	$(BIN)/lacbed info demo/SrTiO3.nc
	@echo "Look at demo/SrTiO3.png and demo/SrTiO3-potential.png."

lint: $(TESTREADY)
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

docs: $(TESTREADY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(READY)
	$(BIN)/python benchmarks/seed_case.py
	$(BIN)/python benchmarks/scaling.py

clean:
	rm -rf $(VENV) demo
