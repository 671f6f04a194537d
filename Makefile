# make demo    set everything up and compute the first patterns
# make test    set everything up, check style and types, run all tests
# make docs    build the documentation into build/site; warnings are errors
# make reproduce CATALOG=cubic.parquet   data sets, training and the tables of learned simulators, from nothing (hours)
# make bench   print the benchmark tables that need no other program
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTREADY := $(VENV)/.ready-for-tests

.PHONY: demo test lint docs reproduce bench clean

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(TESTREADY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,app,multislice,adaptors,hyperspy,catalog,fetch,docs,dask,onnx,tensorboard]"
	touch $@

demo: $(READY)
	mkdir -p demo
	$(BIN)/lacbed simulate SrTiO3 --thickness 300,600,900 --hkl "0,0,0 1,0,0 1,1,0 2,0,0 2,2,0" --absorption thomas -o demo/SrTiO3.png -o demo/SrTiO3.nc
	$(BIN)/lacbed potential SrTiO3 -o demo/SrTiO3-potential.png
	$(BIN)/lacbed info demo/SrTiO3.nc
	$(BIN)/lacbed predict GaAs --thickness 700 --check -o demo/GaAs-learned.nc
	$(BIN)/lacbed simulate GaAs --thickness 700 --absorption thomas --quiet -o demo/GaAs-exact.nc
	$(BIN)/lacbed compare demo/GaAs-learned.nc demo/GaAs-exact.nc -o demo/GaAs-learned-and-exact.png
	@echo "Look at demo/SrTiO3.png, demo/SrTiO3-potential.png and demo/GaAs-learned-and-exact.png."

lint: $(TESTREADY)
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

docs: $(TESTREADY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Two cores: seed.zarr 70 min, wide.zarr 10 min, vae 4 min an epoch, downfold 5 min each, evaluations 2 to 5 min each.
REPRODUCED ?= build/reproduce
CATALOG ?= $(REPRODUCED)/cubic.parquet
reproduce: $(READY)
	mkdir -p $(REPRODUCED)
	test -f $(CATALOG) || $(BIN)/lacbed catalog generate --count 15000 --seed 1 -o $(CATALOG)
	$(BIN)/lacbed dataset build $(CATALOG) -o $(REPRODUCED)/seed.zarr --preset seed --count 12300 --max-atoms 64 --seed 1
	$(BIN)/lacbed dataset build $(CATALOG) -o $(REPRODUCED)/wide.zarr --preset wide --count 300 --max-atoms 40 --seed 2
	for model in downfold downfold-fast; do \
	  $(BIN)/lacbed train $$model --data $(REPRODUCED)/wide.zarr -o $(REPRODUCED)/$$model || exit; \
	  for split in compound prototype; do \
	    $(BIN)/lacbed evaluate $(REPRODUCED)/$$model $(REPRODUCED)/seed.zarr --kind $$split --split-seed 0 -o $(REPRODUCED)/$$model-$$split || exit; \
	  done; \
	  $(BIN)/lacbed evaluate $(REPRODUCED)/$$model $(REPRODUCED)/wide.zarr -o $(REPRODUCED)/$$model-wide || exit; \
	done
	$(BIN)/lacbed train vae-seed --data $(REPRODUCED)/seed.zarr -o $(REPRODUCED)/vae
	$(BIN)/lacbed evaluate $(REPRODUCED)/vae $(REPRODUCED)/seed.zarr -o $(REPRODUCED)/vae-row

bench: $(READY)
	$(BIN)/python benchmarks/seed_case.py
	$(BIN)/python benchmarks/scaling.py

clean:
	rm -rf $(VENV) demo
