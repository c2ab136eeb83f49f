"""`GraphNet` in the arena, on networks of families and on devices that were left out, on cells and on single layers,
and how long a prediction takes. Two hours on one core; needs `python -m datasets fetch timm ncnn`."""

from pathlib import Path

from studies.study import Study

_ARENA = "-m studies.arena.study --out runs/graph_network/arena"

STUDY = Study(
    steps=(
        f"{_ARENA} --protocols families --tables timm,networks --predictors graph_net,graph_net_blend",
        f"{_ARENA} --protocols families --tables hosts",
        f"{_ARENA} --protocols devices --tables timm --predictors network_conditioned,network_gaussian",
        f"{_ARENA} --protocols devices --tables ncnn-complete --predictors matrix_gaussian",
        "-m studies.graph_network.study",
    ),
    folder=Path("runs/graph_network"),
)
