# make demo    set everything up and compute the first patterns
# make app     set everything up and open the page in the browser
# make test    set everything up, check style and types, run all tests, spread over the cores
# make quick   the tests that take no more than seconds each, for everyday work
# make freeze  write the newest versions that install together into constraints.txt (then: make test)
# make docs    build the documentation into build/site; warnings are errors
# make reproduce CATALOG=cubic.parquet   data sets, training and the tables of learned simulators, from nothing (hours)
# make weights CATALOG=cubic.parquet   train the networks and put their weights into the package (hours)
# make bench   print the benchmark tables that need no other program
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTREADY := $(VENV)/.ready-for-tests

EXTRAS := dev,app,multislice,adaptors,hyperspy,extract,catalog,fetch,docs,dask,onnx,tensorboard

.PHONY: demo app test quick lint freeze docs reproduce weights bench clean

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(TESTREADY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
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

app: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[app]"
	$(BIN)/lacbed app --browser

lint: $(TESTREADY)
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/mypy

# One thread per process: the cores are shared out among the processes. Files stay together, for their fixtures, and come
# in the order of their names, which ends with quick ones. Of pytest's plugins only those that are used: others import half of the
# environment. Byte code is kept, so that the programs that tests start need not compile the package again.
PYTEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 \
  $(BIN)/python -m pytest -p xdist -p hypothesispytest -n auto --dist loadfile --no-loadscope-reorder --durations=60 --durations-min=5
test: lint
	$(PYTEST)

quick: $(TESTREADY)
	$(PYTEST) -q -m "not slow and not browser and not oracle" tests/crystals tests/geometry tests/solvers tests/laws tests/test_[a-q]*.py tests/test_s*.py

# PyTorch stays as it is; "+cpu" and the like name a build and not a version.
freeze:
	rm -rf build/freeze && $(PYTHON) -m venv build/freeze
	build/freeze/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep ^torch== constraints.txt)" -e ".[$(EXTRAS)]"
	(grep "^#" constraints.txt; build/freeze/bin/python -m pip freeze --exclude-editable | sed "s/+[a-z0-9.]*$$//" | sort -f) > build/constraints.txt
	mv build/constraints.txt constraints.txt

docs: $(TESTREADY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Two quiet cores: seed.zarr 35 min, wide.zarr 4 min, downfold 3 min each, vae 30 min each, small ones 30 min together,
# learning curve 60 min, evaluations 1 min each (older cores: twice as long). To see it run in minutes, with other numbers:
# make reproduce SEED_COUNT=80 WIDE_COUNT=24 ATOMS=12 WIDE_ATOMS=12 TRAIN="--set training.epochs=1"
REPRODUCED ?= build/reproduce
CATALOG ?= $(REPRODUCED)/cubic.parquet
SEED_COUNT ?= 12300
WIDE_COUNT ?= 300
ATOMS ?= 64
WIDE_ATOMS ?= 40
TRAIN ?= --set training.precision=bfloat16
SMALL := --set data.kind=compound --set data.fraction=0.1 --set training.epochs=12
R := $(REPRODUCED)
reproduce: $(READY)
	mkdir -p $(R)
	test -f $(CATALOG) || $(BIN)/lacbed catalog generate --count 15000 --seed 1 -o $(CATALOG)
	$(BIN)/lacbed dataset build $(CATALOG) -o $(R)/seed.zarr --preset seed --count $(SEED_COUNT) --max-atoms $(ATOMS) --seed 1
	$(BIN)/lacbed dataset build $(CATALOG) -o $(R)/wide.zarr --preset wide --count $(WIDE_COUNT) --max-atoms $(WIDE_ATOMS) --seed 2
	for model in downfold downfold-fast; do \
	  $(BIN)/lacbed train $$model --data $(R)/wide.zarr -o $(R)/$$model || exit; \
	  for split in compound prototype; do \
	    $(BIN)/lacbed evaluate $(R)/$$model $(R)/seed.zarr --kind $$split --split-seed 0 -o $(R)/$$model-$$split || exit; \
	  done; \
	  $(BIN)/lacbed evaluate $(R)/$$model $(R)/wide.zarr -o $(R)/$$model-wide || exit; \
	done
	$(BIN)/lacbed train vae-seed --data $(R)/seed.zarr -o $(R)/vae $(TRAIN)
	$(BIN)/lacbed evaluate $(R)/vae $(R)/seed.zarr -o $(R)/vae-row
	$(BIN)/lacbed train vae-symmetric --data $(R)/seed.zarr -o $(R)/vae-symmetric $(TRAIN)
	$(BIN)/lacbed evaluate $(R)/vae-symmetric $(R)/seed.zarr -o $(R)/vae-symmetric-row
	$(BIN)/lacbed learning-curve vae-seed --data $(R)/seed.zarr -o $(R)/curve --fractions 0.05,0.1,0.25,0.5,1 $(TRAIN)
	$(BIN)/lacbed train vae-seed --data $(R)/seed.zarr -o $(R)/small-vae $(SMALL) $(TRAIN)
	$(BIN)/lacbed train fno --data $(R)/seed.zarr -o $(R)/small-fno --set model.width=16 --set model.modes=12 $(SMALL) $(TRAIN)
	$(BIN)/lacbed train unet --data $(R)/seed.zarr -o $(R)/small-unet --set model.width=16 $(SMALL) $(TRAIN)
	for model in vae fno unet; do $(BIN)/lacbed evaluate $(R)/small-$$model $(R)/seed.zarr -o $(R)/small-$$model-compound || exit; done

# The two of the poster together must stay below 6 MB; then measure them: lacbed evaluate vae-symmetric seed.zarr -o report.
WEIGHTS := src/lacbed/learn/weights
weights: $(READY)
	mkdir -p $(R)
	test -f $(CATALOG) || $(BIN)/lacbed catalog generate --count 15000 --seed 1 -o $(CATALOG)
	$(BIN)/lacbed dataset build $(CATALOG) -o $(R)/seed.zarr --preset seed --count $(SEED_COUNT) --max-atoms $(ATOMS) --seed 1
	for model in coefficients vae-seed vae-symmetric; do \
	  resume=; test ! -f $(R)/$$model/checkpoint.safetensors || resume=--resume; \
	  stream=; test $$model != coefficients || stream="--stream $(CATALOG)"; \
	  test -d $(R)/$$model/model || $(BIN)/lacbed train $$model --data $(R)/seed.zarr $$stream -o $(R)/$$model $(TRAIN) $$resume || exit; \
	  $(BIN)/lacbed evaluate $(R)/$$model $(R)/seed.zarr -o $(R)/$$model-report || exit; \
	  $(BIN)/python -c "from pathlib import Path; from lacbed.learn.packing import pack; print(pack('$(R)/$$model', Path('$(WEIGHTS)/$$model')))" || exit; \
	done

bench: $(READY)
	$(BIN)/python benchmarks/seed_case.py
	$(BIN)/python benchmarks/scaling.py

clean:
	rm -rf $(VENV) demo
