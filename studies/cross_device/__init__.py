"""New devices from a few measurements, on NASFLAT's device sets: our methods, simple ones, HELP's and NASFLAT's;
numbers of samples, sources and cells; each family held out; energy. Needs `python -m datasets fetch help`, `oneproxy`,
`latbench-brp-nas` and `hw-nas-bench-360`."""

from pathlib import Path

from studies.study import Study

STUDY = Study(
    steps=(
        "-m predictors transfer --sweep studies/cross_device/nasflat.yaml",
        "-m predictors transfer --sweep studies/cross_device/nasflat_physics.yaml",
        "-m predictors transfer --sweep studies/cross_device/nasflat_sources.yaml",
        "-m predictors transfer --sweep studies/cross_device/nasflat_others.yaml",
        "-m predictors transfer --sweep studies/cross_device/nasflat_gcn.yaml",
        "-m predictors transfer --sweep studies/cross_device/nasflat_gcn_nd.yaml",
        "-m predictors transfer --sweep studies/cross_device/nasflat_peers.yaml",
        "-m predictors transfer --sweep studies/cross_device/nasflat_peers_fbnet.yaml",
        "-m predictors transfer --sweep studies/cross_device/shots.yaml",
        "-m predictors transfer --sweep studies/cross_device/source_devices.yaml",
        "-m predictors transfer --sweep studies/cross_device/leave_one_device.yaml",
        "-m predictors transfer --sweep studies/cross_device/energy.yaml",
        "-m predictors transfer --sweep studies/cross_device/nasflat_few.yaml",
        "-m predictors transfer --sweep studies/cross_device/nasflat_whole.yaml",
        "-m predictors transfer --sweep studies/cross_device/nasflat_whole_physics.yaml",
        "-m predictors transfer --sweep studies/cross_device/nasflat_whole_sources.yaml",
        "-m predictors transfer --sweep studies/cross_device/twins.yaml",
        "-m predictors transfer --sweep studies/cross_device/twins_nearest.yaml",
        "-m predictors transfer --sweep studies/cross_device/twins_physics.yaml",
        "-m predictors transfer --sweep studies/cross_device/twins_sources.yaml",
        "-m predictors summarise runs/nasflat_whole",
        "-m predictors summarise runs/twins",
        "-m studies.cross_device.left_out",
        "-m predictors summarise runs/shots",
        "-m predictors summarise runs/source_devices",
        "-m predictors summarise runs/leave_one_device",
        "-m predictors summarise runs/energy",
        "-m predictors summarise runs/nasflat_few",
        "-m pytest -q tests/predictors/test_cross_device.py --rows runs/cross_device_tests/summary.json",
        "-m tests.bench",
        "-m predictors summarise runs/nasflat",
    ),
    folder=Path("runs/nasflat"),
)
