"""NetAdapt: look-up tables compared with whole networks, searches for widths in them (a minute), and whole adaptations
on the digits task by the bundled tables, with latencies measured here (an hour on an idle machine)."""

from pathlib import Path

from studies.study import Study

STUDY = Study(
    steps=(
        "-m pytest -q tests/search/test_netadapt.py tests/search/test_netadapt_widths.py "
        "--rows runs/netadapt_tests/summary.json",
        "-m studies.netadapt.study",
    ),
    folder=Path("runs/netadapt"),
)
