"""Decisions on networks: `gnomon check` on recorded and on live runs under load. Half an hour; the live part measures on
this machine, beside other work if there is any."""

from pathlib import Path

from studies.study import Study

STUDY = Study(steps=("-m studies.decide.study",), folder=Path("runs/decide"))
