# `make train` needs the core of pyproject.toml, all other targets its extras and tools too. Each sets up .venv first, when
# pyproject.toml or constraints.txt has changed.
.PHONY: setup setup-all train test pytest lint docs fuzz bench notebooks pricer study help-gold help-900 measure-check tables tables-check leti perfnetrt peers cross-device search optimizer netadapt gpu
.DEFAULT_GOAL := train

VENV := .venv
PY := $(VENV)/bin/python
export OMP_NUM_THREADS ?= 1
RUNS := runs/bundled
PREDICTORS := brp_gcn graph_net_small gcn gp xgboost xgboost_flat flops mean

setup: $(VENV)/.core
setup-all: $(VENV)/.all

$(VENV)/.core: pyproject.toml constraints.txt
	$(call install,-r pyproject.toml,.)
	touch $@

$(VENV)/.all: pyproject.toml constraints.txt
	$(call install,-r pyproject.toml --extra all --group dev,'.[all]' --group dev)
	touch $(VENV)/.core $@

$(VENV)/.docs: $(VENV)/.all
	$(call install,-r pyproject.toml --group docs,. --group docs)
	touch $@

# $(call install,WHAT_UV_INSTALLS,WHAT_PIP_INSTALLS): into .venv, which is made where it is not there.
define install
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Gnomon needs Python 3.11 or newer")'
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python python3 $(VENV) && \
		UV_FIND_LINKS="$${UV_FIND_LINKS:-$$(python3 -m pip config get global.find-links 2>/dev/null || echo $$PIP_FIND_LINKS)}" \
		uv pip install --quiet --python $(PY) -c constraints.txt $(1); \
	else \
		python3 -m venv $(VENV) && $(PY) -m pip install --quiet --upgrade 'pip>=25.1' && \
		$(PY) -m pip install --quiet -c constraints.txt $(2); \
	fi
endef

# Train and compare predictors on the bundled measurements, two at a time; export the best; write the report.
train: setup
	@printf '%s\n' $(PREDICTORS) | xargs -P 2 -I NAME bash -o pipefail -c '$(PY) train.py \
		--data configs/datasets/bundled.yaml --split configs/splits/held_out_architectures.yaml \
		--predictor configs/predictors/NAME.yaml --out $(RUNS)/NAME --overwrite true 2>&1 | sed "s/^/NAME: /"'
	$(PY) -m predictors compare $(RUNS)
	$(PY) -m gnomon price zoo:lenet5 zoo:squeezenet --device milan_ort_fp32_1

# What reads the code runs beside the tests, of which a third process works where others wait.
MAKEFLAGS += --jobs=2
test: lint pytest

pytest: setup-all
	$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: setup-all
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy .

# The site of docs/ into build/site; the reference is written from the code. Warnings, such as links to nothing, are errors.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
	@echo build/site/index.html

# Damaged inputs of every kind for HOURS or SECONDS on one core, with a new seed unless SEED is given. Findings (input,
# command, traceback) go to runs/fuzz; exits with 1 where there is one.
HOURS := 1
fuzz: setup-all
	$(PY) -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS),--hours $(HOURS)) $(if $(SEED),--seed $(SEED))

# Execute every notebook on what `make train` left; the executed copies go to runs/notebooks. STUDY=FOLDER compares other runs.
notebooks: setup-all
	@test -e $(RUNS)/summary.json || { echo "error: there is no $(RUNS)/summary.json; run make train first." >&2; exit 2; }
	@mkdir -p runs/notebooks
	@for n in notebooks/*.ipynb; do \
		$(VENV)/bin/jupyter-execute --kernel_name=python3 --output=../runs/notebooks/$$(basename $$n .ipynb) $$n || exit 1; \
	done; ls -1 runs/notebooks

# Speed, one thread; ratios against named alternatives, side by side in one run.
bench: setup-all
	$(PY) -m tests.bench

# The pricer that a clone has, from the bundled tables of layers and networks.
pricer: setup
	$(PY) -m predictors layerwise --layer configs/predictors/layer_trees_compact.yaml --out predictors/networks/pricer.pt

# All bundled tables anew, of this machine, for hours, on one core. Goes on where it stopped; `make tables TABLES=zoo` for one.
# layers_two_threads takes all cores.
TABLES := nasbench201 nasbench101_small nasbench101 convolution pooling dense convnet zoo accuracy
HOST :=
tables: setup-all
	@for t in $(TABLES); do case $$t in \
		accuracy) $(PY) -m measure accuracy --limit 500 --journal runs/tables/accuracy.jsonl && \
			$(PY) -m measure accuracy --limit 50 --seeds 2 --journal runs/tables/accuracy.jsonl && \
			$(PY) -m measure table --journal runs/tables/accuracy.jsonl --out datasets/bundled/accuracy.parquet || exit 1;; \
		*) $(PY) -m measure campaign --plan configs/campaigns/$$t.yaml $(if $(HOST),--host $(HOST)) --out datasets/bundled/$$t.parquet || exit 1;; \
	esac; done

# What the project claims: `make study NAME=leti` runs one study, which goes on where it was stopped, and checks its claims;
# `make study` lists them, with what each needs and how long it takes.
study: setup-all
	$(PY) -m studies $(if $(NAME),run $(NAME),list)

leti perfnetrt peers search optimizer netadapt: setup-all
	$(PY) -m studies run $@
help-gold help-900 cross-device: setup-all
	$(PY) -m studies run $(subst -,_,$@)
# Eight minutes on an NVIDIA GPU with what Python has there: nothing is installed. Another run continues; GPU_PY names a Python.
GPU_PY := $(firstword $(wildcard $(PY)) python3)
gpu:
	$(GPU_PY) -m studies.gpu.study --out runs/gpu
measure-check tables-check: setup-all
	$(PY) -m studies run $(@:-check=)
