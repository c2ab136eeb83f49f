"""Energies of networks on a Raspberry Pi 5 and of single layers on a server, beside one number of mJ per MAC and one of
mJ per ms. Half an hour on one core; needs `python -m datasets fetch` of hw-nas-bench-360, help and
dl-energy-estimator."""

from pathlib import Path

from studies.study import Study

STUDY = Study(
    steps=("-m studies.energy.study",),
    folder=Path("runs/energy_baselines"),
)
