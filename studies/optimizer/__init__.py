"""The optimizer network on the same sixty pairs as the searches, and HELP's fifteen. Five minutes on an idle core."""

from pathlib import Path

from studies.study import Study

STUDY = Study(
    steps=("-m studies.optimizer.study --out runs/search/optimizer",),
    folder=Path("runs/search/optimizer"),
)
