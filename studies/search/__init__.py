"""Searches under a budget on HELP's latencies and NATS' accuracies (`python -m datasets fetch help`, `nats-bench-
landscape`, `hw-nas-bench-360`): HELP's fifteen pairs, sixty on unseen devices, energy, measurements that hybrid
searches save, cost over the number of devices, and live searches on this machine; the optimizer network's study runs
first. Twenty minutes on an idle core."""

from pathlib import Path

from studies.study import Study

STUDY = Study(
    steps=(
        "-m studies run optimizer",
        "-m pytest -q tests/contracts/test_searches.py tests/search/test_search.py "
        "--rows runs/search_tests/summary.json",
        "-m studies.search.study --out runs/search",
    ),
    folder=Path("runs/search"),
)
