# `make train` needs the core of pyproject.toml, all other targets its extras and tools too. Each sets up .venv first, when
# pyproject.toml or constraints.txt has changed.
.PHONY: setup setup-all train test lint fuzz bench notebooks help-gold help-900 measure-check tables tables-check leti perfnetrt peers cross-device search optimizer netadapt
.DEFAULT_GOAL := train

VENV := .venv
PY := $(VENV)/bin/python
export OMP_NUM_THREADS ?= 1
RUNS := runs/bundled
PREDICTORS := mean flops xgboost xgboost_flat gp brp_gcn gcn

setup: $(VENV)/.core
setup-all: $(VENV)/.all

$(VENV)/.core: pyproject.toml constraints.txt
	$(call install,-r pyproject.toml,.)
	touch $@

$(VENV)/.all: pyproject.toml constraints.txt
	$(call install,-r pyproject.toml --extra all --group dev,'.[all]' --group dev)
	touch $(VENV)/.core $@

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

# Train and compare predictors on the bundled measurements; export the best; write the report.
train: setup
	@for p in $(PREDICTORS); do \
		echo "== $$p"; \
		$(PY) train.py --data configs/datasets/bundled.yaml --split configs/splits/held_out_architectures.yaml \
			--predictor configs/predictors/$$p.yaml --out $(RUNS)/$$p --overwrite true || exit 1; \
	done
	$(PY) -m predictors compare $(RUNS)

test: setup-all lint
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: setup-all
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy .

# Damaged inputs of every kind for HOURS or SECONDS on one core, with a new seed unless SEED is given. Findings (input,
# command, traceback) go to runs/fuzz; exits with 1 where there is one.
HOURS := 1
fuzz: setup-all
	$(PY) -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS),--hours $(HOURS)) $(if $(SEED),--seed $(SEED))

# Execute every notebook on what `make train` left; the executed copies go to runs/notebooks.
notebooks: setup-all
	@test -e $(RUNS)/summary.json || { echo "error: there is no $(RUNS)/summary.json; run make train first." >&2; exit 2; }
	@mkdir -p runs/notebooks
	@for n in notebooks/*.ipynb; do \
		$(VENV)/bin/jupyter-execute --kernel_name=python3 --output=../runs/notebooks/$$(basename $$n .ipynb) $$n || exit 1; \
	done; ls -1 runs/notebooks

# Speed, one thread; ratios against named alternatives, side by side in one run.
bench: setup-all
	$(PY) -m tests.bench

# HELP's gold_6226 with 900 labels, three seeds, a quarter of an hour; needs the public files
# (python -m datasets fetch help).
help-gold: setup-all
	$(PY) train.py --sweep configs/sweeps/help_gold.yaml
	$(PY) -m predictors compare runs/help_gold --claims configs/claims/help_gold.yaml

# Six of HELP's devices with 900 labels each on NAS-Bench-201 and FBNet, learning curves on both, speed, a sweep that is
# killed ten times: two hours on one core. Goes on where it stopped.
HELP_STUDIES := help_900_fbnet help_curves help_curves_fbnet help_900
help-900: setup-all
	@for s in $(HELP_STUDIES); do \
		$(PY) train.py --sweep configs/sweeps/$$s.yaml || exit 1; \
		test $$s = help_900 || $(PY) -m predictors compare runs/$$s || exit 1; \
	done
	$(PY) -m pytest -q tests/test_sweeps.py -k killed --rows runs/kills/summary.json
	$(PY) -m tests.bench
	$(PY) -m predictors compare runs/help_900 --claims configs/claims/help_900.yaml

# What measuring must show, an hour on an idle machine with two cores or more. Journals go on where they stopped.
measure-check: setup-all
	$(PY) -m tests.enumeration --out runs/enumeration
	$(PY) -m pytest -q tests/test_nasbench101.py -k "hash or counts_by" --rows runs/enumeration_tests/summary.json
	$(PY) -m tests.measure_check --out runs/measure --claims configs/claims/measure.yaml

# All bundled tables anew, of this machine, for hours, on one core. Goes on where it stopped; `make tables TABLES=zoo` for one.
TABLES := nasbench201 nasbench101_small nasbench101 convolution pooling dense convnet zoo accuracy
HOST :=
tables: setup-all
	@for t in $(TABLES); do case $$t in \
		accuracy) $(PY) -m measure accuracy --limit 500 --journal runs/tables/accuracy.jsonl && \
			$(PY) -m measure accuracy --limit 50 --seeds 2 --journal runs/tables/accuracy.jsonl && \
			$(PY) -m measure table --journal runs/tables/accuracy.jsonl --out datasets/bundled/accuracy.parquet || exit 1;; \
		*) $(PY) -m measure campaign --plan configs/campaigns/$$t.yaml $(if $(HOST),--host $(HOST)) --out datasets/bundled/$$t.parquet || exit 1;; \
	esac; done

# What the bundled tables must show; only their first rows are measured again.
tables-check: setup-all
	$(PY) -m pytest -q tests/test_tables.py -k device --rows runs/tables_tests/summary.json
	$(PY) -m tests.tables_check --out runs/tables --claims configs/claims/tables.yaml

# LETI's study: 230 fits, searches on bundled tables, the whole of NAS-Bench-101 scored; and live on this machine ResNet50
# and NASNet as sums of their layers, and a search. An hour on an idle core. Goes on where it stopped.
leti: setup-all
	@for s in leti leti_gcn; do $(PY) train.py --sweep configs/sweeps/$$s.yaml || exit 1; done
	$(PY) -m tests.leti_check
	$(PY) -m tests.bench
	$(PY) -m predictors compare runs/leti --claims configs/claims/leti.yaml

# PerfNetRT's study: predictors of single layers on the bundled and public tables, then whole networks. Three hours on one
# core; needs the public files (python -m datasets fetch ml-performance-prediction; ... neusight). Goes on where it stopped.
perfnetrt: setup-all
	$(PY) -m tests.perfnetrt_layers
	$(PY) -m tests.perfnetrt_networks --host milan --claims configs/claims/perfnetrt.yaml

# HELP's and NASFLAT's methods as their own code was run: source devices to new ones. Ten minutes on an idle core; what is
# trained stays in runs/peers. Needs HELP's public files.
peers: setup-all
	$(PY) -m tests.peers_check --claims configs/claims/peers.yaml

# New devices from a few measurements, on NASFLAT's device sets: ours, simple ones, HELP's and NASFLAT's methods; how many
# samples, sources and cells; every family left out; energy. Needs the public files (python -m datasets fetch help;
# oneproxy; hw-nas-bench-360). Goes on where it stopped.
CROSS_DEVICE := shots source_devices leave_one_device energy nasflat_few
cross-device: setup-all
	@for s in nasflat nasflat_others nasflat_gcn nasflat_gcn_nd nasflat_peers nasflat_peers_fbnet $(CROSS_DEVICE); do \
		$(PY) -m predictors transfer --sweep configs/sweeps/$$s.yaml || exit 1; \
	done
	@for s in $(CROSS_DEVICE); do $(PY) -m predictors summarise runs/$$s || exit 1; done
	$(PY) -m pytest -q tests/test_cross_device.py --rows runs/cross_device_tests/summary.json
	$(PY) -m tests.bench
	$(PY) -m predictors summarise runs/nasflat --claims configs/claims/nasflat.yaml

# Searches under a budget on HELP's latencies and NATS' accuracies (python -m datasets fetch help; nats-bench-landscape;
# hw-nas-bench-360): HELP's fifteen pairs, sixty on unseen devices, energy, cost as devices grow, and live on this machine.
# With `make optimizer`, whose rows it draws too, a quarter of an hour on an idle core.
search: optimizer
	$(PY) -m pytest -q tests/test_search.py --rows runs/search_tests/summary.json
	$(PY) -m tests.search_check --out runs/search --claims configs/claims/search.yaml

# The optimizer network on the same sixty pairs, and the fifteen. Five minutes on an idle core.
optimizer: setup-all
	$(PY) -m tests.optimizer_check --out runs/search/optimizer --claims configs/claims/optimizer.yaml

# NetAdapt: look-up tables against whole networks, searches for widths in them (a minute), whole adaptations on the digits
# task by the bundled tables with latencies measured here (an hour on an idle machine). Goes on where it stopped.
netadapt: setup-all
	$(PY) -m pytest -q tests/test_netadapt.py tests/test_netadapt_widths.py --rows runs/netadapt_tests/summary.json
	$(PY) -m tests.netadapt_check --claims configs/claims/netadapt.yaml
