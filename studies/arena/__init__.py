"""Predictors of whole networks on public tables: families of networks held out, devices left out, floors first. Half an
hour on one core; needs `python -m datasets fetch timm ncnn ai-hub-models accel-nasbench`."""

from pathlib import Path

from studies.study import Study

STUDY = Study(steps=("-m studies.arena.study", "-m studies.arena.report"), folder=Path("runs/arena"))
