"""YAML files: what is learnt from, split, fitted, swept over, measured, claimed, transferred to; and devices."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import yaml

from tests.fuzz import inputs
from tests.fuzz.family import Command, Family, Files
from tests.fuzz.mutations import SENTINEL, any_damage, change_text, change_tree

TRICKS = (
    "a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n"
    "d: &d [*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e]\n",
    f"!!python/object/apply:{SENTINEL}.run []\n", "!!python/name:os.system\n", "&a [*a]\n", "? [1, 2]\n: 3\n",
    "--- 1\n--- 2\n", "<<: 3\n", "<<: [1]\na: 1\n", "2001-99-99\n", "!!binary x\n", "!!float x\n", "!!int ''\n",
    "!x y\n",
    "!!timestamp x\n", "%YAML 9.9\n---\na\n", "[" * 2000, "a: " * 300, "- " * 3000, "? " * 500, "{a: 1, a: 2}\n",
    "!!set {a, b}\n", "0x\n", "1_000:60\n", "\x85\n", "=\n", "null\n", "", "~\n", "[]\n", "{}\n", "text\n", "'",
    "\ufeffa: 1",
    "class_path: !!str\n", "class_path: [predictors.linear.Mean]\n",
)  # fmt: skip


def change_yaml(content: bytes, rng: Random) -> bytes:
    """A YAML file with an edited tree, with damaged lines, or that is a trick of its own."""
    kind = rng.random()
    if kind < 0.05:
        trick = rng.choice(TRICKS)
        return rng.choice((trick.encode(), content + b"\n" + trick.encode(), trick.encode() + content))
    if kind < 0.3:
        return rng.choice((change_text, any_damage))(content, rng)
    tree = change_tree(yaml.safe_load(content), rng)
    try:
        if rng.random() < 0.8:
            return yaml.safe_dump(tree, sort_keys=False).encode(errors="surrogatepass")
    except (RecursionError, yaml.YAMLError):
        pass
    return json.dumps(tree, skipkeys=True).encode(errors="surrogatepass")


def _yaml_of(tree: Any) -> bytes:
    return yaml.safe_dump(tree, sort_keys=False).encode()


def _object(class_path: str, /, **arguments: Any) -> dict[str, Any]:
    return {"class_path": class_path, "init_args": arguments}


TOTALS = _object("encoders.flat.Totals", columns=["macs", "kernels"])
LINEAR = _object("predictors.linear.Linear", encoder=TOTALS, metric="latency_ms", tolerance=0.0)
PREDICTORS = (
    LINEAR,
    _object("predictors.blend.Blend", members=[LINEAR, _object("predictors.linear.Mean")]),
    _object("predictors.gcn.GCN", encoder=_object("encoders.cell.CellGraph"), hidden=8, layers=1, epochs=1),
    _object("predictors.trees.XGBoost", encoder=_object("encoders.cell.CellOneHot"), trees=5, depth=2),
    _object("predictors.new_devices.conditioned.Conditioned"),
    {"class_path": "predictors.linear.Mean"},
)


def bench(folder: Path) -> None:
    """What commands need beside the file that is damaged."""
    inputs.table(folder)
    data = _object("datasets.measured.Measured", path=str(folder / "table.parquet"))
    split = _object("datasets.splits.HeldOutArchitectures", train=10, val=5, test=0)
    many = _object("datasets.splits.HeldOutArchitectures", train=10**6)  # refused, before anything is fitted
    devices = {"data": [data], "sources": [inputs.DEVICE], "targets": ["toy_1"]}
    part = {"space": "nasbench201(cells=1)", "backend": "tensorrt", "limit": 2, "protocol": "quick"}
    content = {"data": data, "split": split, "many": many, "mean": PREDICTORS[-1], "linear": LINEAR}
    content |= {"own": _object("predictors.new_devices.proxies.OwnLine")}
    content |= {"sets": {"sets": {"toy": devices}}, "plan": {"parts": [part]}}
    for name, tree in content.items():
        (folder / f"{name}.yaml").write_bytes(_yaml_of(tree))


def _with_bench(*trees: Any) -> Callable[[Path], list[Files]]:
    """Files of such trees or texts; @ stands for the folder beside."""

    def make(folder: Path) -> list[Files]:
        bench(folder)
        texts = [tree if isinstance(tree, str) else _yaml_of(tree).decode() for tree in trees]
        return [{"x.yaml": text.replace("@", str(folder)).encode()} for text in texts]

    return make


def edit(files: Files, rng: Random) -> Files:
    return {**files, "x.yaml": change_yaml(files["x.yaml"], rng)}


def _train(beside: Path, data: str = "", split: str = "", predictor: str = "", out: str = "run") -> Command:
    given = {"--data": data or beside / "data.yaml", "--split": split or beside / "split.yaml"}
    given |= {"--predictor": predictor or beside / "mean.yaml", "--out": out}
    return ["train.py", *(str(word) for pair in given.items() for word in pair)]


def _use_predictor(case: Path, beside: Path, rng: Random) -> Command:
    """Refused by the split once the file is read, so that nothing is fitted."""
    if rng.random() < 0.15:
        return ["predictors", "layerwise", "--out", "l.pt", "--layer", str(case / "x.yaml"), "--tables", str(case)]
    return _train(beside, predictor=str(case / "x.yaml"), split=str(beside / "many.yaml"))


def _use_small_predictor(case: Path, beside: Path, rng: Random) -> Command:
    return _train(beside, predictor=str(case / "x.yaml"))


def _use_data(case: Path, beside: Path, rng: Random) -> Command:
    if rng.random() < 0.3:
        return _train(beside, data=str(case / "x.yaml"))
    return rng.choice(
        (["datasets", "describe", str(case / "x.yaml")], ["datasets", "leti", str(case / "x.yaml"), "o.json"])
    )


def _use_split(case: Path, beside: Path, rng: Random) -> Command:
    return _train(beside, split=str(case / "x.yaml"))


def _use_config(case: Path, beside: Path, rng: Random) -> Command:
    return [
        "train.py",
        "--config",
        str(case / "x.yaml"),
        "--out",
        "run",
        *rng.choice(([], ["--split", str(beside / "many.yaml")])),
    ]


def _use_sweep(case: Path, beside: Path, rng: Random) -> Command:
    if rng.random() < 0.2:
        return ["predictors", "transfer", "--sweep", str(case / "x.yaml")]
    return ["train.py", "--sweep", str(case / "x.yaml")]


def _use_plan(case: Path, beside: Path, rng: Random) -> Command:
    return [
        "measure",
        "campaign",
        "--plan",
        str(case / "x.yaml"),
        "--out",
        "t.parquet",
        "--journal",
        "j.jsonl",
        *rng.choice(([], ["--limit", "1"])),
    ]


def _use_device(case: Path, beside: Path, rng: Random) -> Command:
    plan = str(beside / "plan.yaml")
    return [
        "measure",
        "campaign",
        "--plan",
        plan,
        "--out",
        "t.parquet",
        "--journal",
        "j.jsonl",
        "--host",
        "x",
        "--devices",
        str(case),
    ]


def _use_sets(case: Path, beside: Path, rng: Random) -> Command:
    command = [
        "predictors",
        "transfer",
        "--predictor",
        str(beside / "own.yaml"),
        "--sets",
        str(case / "x.yaml"),
        "--device_set",
        "toy",
    ]
    return [*command, "--study", "study", "--cells", "20", "--shots", "[5]", "--draws", "1"]


TABLE = "class_path: datasets.measured.Measured\ninit_args: {path: @/table.parquet}\n"
LETI = "class_path: datasets.leti.Leti\ninit_args: {path: leti.json}\n"
PUBLIC = "class_path: datasets.public.pi5.HwNasBench360\ninit_args: {task: cifar100, devices: [a]}\n"
HELD_OUT = "class_path: datasets.splits.HeldOutArchitectures\ninit_args: {train: 10, val: 5, test: 0}\n"
RANDOM = "class_path: datasets.splits.Random\ninit_args: {train: 0.5, val: 0.2}\n"
DEVICES = "class_path: datasets.splits.HeldOutDevices\ninit_args: {devices: [toy_1]}\n"
CONFIG = """
data: {class_path: datasets.measured.Measured, init_args: {path: @/table.parquet}}
split: {class_path: datasets.splits.Random, init_args: {train: 10, val: 5}}
predictor:
  class_path: predictors.linear.Linear
  init_args: {encoder: {class_path: encoders.flat.Totals, init_args: {columns: [macs, kernels]}}}
name: x
seed: 1
"""
SWEEP = """
program: train.py
method: grid
parameters:
  study: {value: study}
  split: {value: @/many.yaml}
  data: {value: @/data.yaml}
  predictor: {values: [@/mean.yaml, @/linear.yaml]}
  seed: {values: [0, 1]}
"""
TRANSFER = """
program: predictors
method: grid
parameters:
  study: {value: study}
  sets: {value: @/sets.yaml}
  device_set: {value: none}
  predictor: {value: @/own.yaml}
  shots: {value: [5]}
"""
PLAN = """
parts:
- {space: "nasbench201(cells=1)", backend: "tensorrt,ort_cuda", limit: 3, protocol: quick, phases: true, seed: 1}
- {space: "convolution(megabytes=128,megamacs=400)", backend: ort_tensorrt, limit: 2, layers: false}
again: 2
"""
DEVICE = """
name: x
family: amd-epyc-milan
kind: server-cpu
source: made up
features: {cores: 2.0, clock_ghz: 2.4}
how: {cores: read}
"""
SETS = """
sets:
  toy:
    data: [{class_path: datasets.measured.Measured, init_args: {path: @/table.parquet}}]
    sources: [toy_0]
    targets: [toy_1]
leave_out:
  toys: {data: [{class_path: datasets.measured.Measured, init_args: {path: @/table.parquet}}]}
"""


FAMILIES = (
    Family("predictor yaml", _with_bench(*PREDICTORS), edit, _use_predictor, share=1.5),
    Family("small predictor yaml", _with_bench(LINEAR, PREDICTORS[-1]), edit, _use_small_predictor, share=0.3),
    Family("data yaml", _with_bench(TABLE, TABLE, TABLE, LETI, PUBLIC), edit, _use_data),
    Family("split yaml", _with_bench(HELD_OUT, RANDOM, DEVICES), edit, _use_split, share=0.5),
    Family("config yaml", _with_bench(CONFIG), edit, _use_config, share=0.5),
    Family("sweep yaml", _with_bench(SWEEP, SWEEP, SWEEP, TRANSFER), edit, _use_sweep),
    Family("plan yaml", _with_bench(PLAN), edit, _use_plan),
    Family("device yaml", _with_bench(DEVICE), edit, _use_device, share=0.5),
    Family("device sets yaml", _with_bench(SETS), edit, _use_sets, share=0.5),
)
