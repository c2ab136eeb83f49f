"""Facts about NAS-Bench-101: its cells, their hash, their parameters, LETI's triple, and what listing them costs."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from functools import cache
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.blocks import dags
from datasets.enumeration import described, write_parquet
from datasets.networks.analysis import totals
from datasets.records import Architectures, InputError
from datasets.spaces.nasbench101 import OPS, NasBench101
from datasets.spaces.nasbench201 import NasBench201
from datasets.triple import from_triple, prune, to_triple
from tests.conftest import ROOT, run

SPACE = NasBench101()
COUNTS = (1, 7, 91, 2_532, 64_542, 423_624)
"""Unique cells of at most 2, 3, ..., 7 vertices: the last is the paper's."""
CELLS = st.integers(0, COUNTS[-1] - 1)


@cache
def cells() -> Architectures:
    return SPACE.all()


def some(row: int) -> Architectures:
    return cells()[[row]]


@pytest.fixture(scope="module")
def cases(public_data: Path) -> dict:
    path = public_data / "_derived" / "nasbench101_hash_cases.json"
    if not path.is_file():
        pytest.skip(f"{path} is not here (hashes computed with the benchmark's own code)")
    return json.loads(path.read_text())


def test_the_benchmark_s_hash(cases: dict) -> None:
    """255 cells, of which many have vertices to prune."""
    archs = [from_triple(case["matrix"], case["ops"], {}) for case in cases["cases"]]
    together = Architectures(SPACE, np.concatenate([arch.decisions for arch in archs]))
    assert SPACE.hash(together) == [case["hash"] for case in cases["cases"]]
    assert (
        len(cases["cases"]) == 255
        and tuple(cases["counts_unique_hashes_up_to_v_vertices_max9edges"].values()) == COUNTS[:-1]
    )


def test_the_published_record(cases: dict) -> None:
    """The first record of the benchmark's file: 8,555,530 parameters. Its matrix and ops are those of `all`."""
    case = cases["cases"][0]
    cell = from_triple(case["matrix"], case["ops"], {})
    assert "n_params 8555530," in case["name"] and SPACE.totals(cell)["params"].tolist() == [8_555_530]
    assert SPACE.canonical(cell) == cell.keys


def test_the_largest_network() -> None:
    """49,979,274 trainable parameters is the largest number in the benchmark's file, as users of the file quote it."""
    assert SPACE.totals(cells())["params"].max() == 49_979_274


def test_counts_by_vertices_and_their_order() -> None:
    archs = cells()
    kinds, adjacency = SPACE.graph(archs)
    vertices, edges = (kinds != SPACE.kinds.index("none")).sum(1), adjacency.sum((1, 2))
    assert tuple(np.searchsorted(vertices, range(3, 9))) == COUNTS and (np.diff(vertices) >= 0).all()
    assert edges.max() == 9 and len(np.unique(archs.decisions, axis=0)) == COUNTS[-1]
    assert archs.keys[:8] == [":0", "conv3x3:0.1", "conv1x1:0.1", "maxpool3x3:0.1", "conv3x3:0.01", "conv1x1:0.01",
                              "maxpool3x3:0.01", "conv3x3+conv3x3:0.1.2"]  # fmt: skip


def slow_hash(matrix: np.ndarray, labels: list[int]) -> str:
    """The benchmark's definition, vertex by vertex."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    now = [md5(f"({matrix[v].sum()}, {matrix[:, v].sum()}, {label})") for v, label in enumerate(labels)]
    for _ in labels:
        near = [
            (sorted(now[w] for w in np.flatnonzero(m)) for m in (matrix[:, v], matrix[v])) for v in range(len(labels))
        ]
        now = [
            md5("|".join(["".join(before), "".join(after), own]))
            for (before, after), own in zip(near, now, strict=True)
        ]
    return md5(str(sorted(now)))


def test_all_cells_up_to_five_vertices_as_the_authors_found_them() -> None:
    """Their loop over matrices, then labellings: the first cell of every hash, in the order of finding."""
    found: dict[str, tuple[np.ndarray, list[str]]] = {}
    for vertices in range(2, 6):
        pairs = [(x, y) for y in range(vertices) for x in range(y)]
        for bits in range(1 << len(pairs)):
            matrix = np.zeros((vertices, vertices), int)
            for i, pair in enumerate(pairs):
                matrix[pair] = bits >> i & 1
            if matrix.sum() <= 9 and matrix[:-1].any(1).all() and matrix[:, 1:].any(0).all():
                for labels in product(range(3), repeat=vertices - 2):
                    name = slow_hash(matrix, [-1, *labels, -2])
                    found.setdefault(name, (matrix, ["input", *(OPS[label] for label in labels), "output"]))
    archs = cells()[: COUNTS[3]]
    assert list(found) == SPACE.hash(archs)
    for arch, (matrix, layers) in zip(archs, found.values(), strict=True):
        ours = to_triple(arch)
        assert np.array_equal(ours[0], matrix) and ours[1] == layers


@settings(deadline=None, max_examples=50)
@given(CELLS, st.permutations(range(5)))
def test_isomorphic_cells_are_one(row: int, order: list[int]) -> None:
    matrix, layers, config = to_triple(some(row)[0])
    inner = [v + 1 for v in order if v < len(layers) - 2]
    places = [0, *inner, len(layers) - 1]
    moved = matrix[np.ix_(places, places)]
    if np.tril(moved).any():
        return
    other = from_triple(moved, [layers[v] for v in places], config)
    assert SPACE.canonical(other) == SPACE.canonical(some(row)) == some(row).keys
    assert SPACE.hash(other) == SPACE.hash(some(row))


def test_canonical_is_the_least_of_all_renumberings() -> None:
    for row in (*range(0, 91, 10), *np.random.default_rng(0).integers(COUNTS[-1], size=10).tolist()):
        matrix, layers, _ = to_triple(some(row)[0])
        ends = len(layers) - 1
        found = []
        for inner in permutations(range(1, ends)):
            places = [0, *inner, ends]
            if not np.tril(moved := matrix[np.ix_(places, places)]).any():
                found.append((dags.number(moved), [OPS.index(layers[v]) for v in inner]))
        assert min(found) == (dags.number(matrix), [OPS.index(layer) for layer in layers[1:-1]])


def test_steps_lead_from_any_small_cell_to_any_other() -> None:
    small = COUNTS[2]
    seen, open_ = {":0"}, [":0"]
    while open_:
        near = SPACE.neighbours(SPACE.parse([open_.pop()]))
        kinds, _ = SPACE.graph(near)
        new = set(SPACE.canonical(near[(kinds != SPACE.kinds.index("none")).sum(1) <= 4])) - seen
        seen |= new
        open_ += new
    assert seen == set(cells()[:small].keys)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 99),
    channels=st.integers(5, 20),
    stacks=st.integers(1, 3),
    cells=st.integers(1, 2),
    image=st.integers(1, 9),
)
def test_totals_of_any_skeleton_and_of_any_order_of_vertices(seed: int, **skeleton: int) -> None:
    """Widths that do not divide, odd images, cells that are no member of `all`."""
    space, rng = NasBench101(**skeleton), np.random.default_rng(seed)
    archs = space.mutate(space.mutate(space.sample(5, rng), rng), rng)
    for row, arch in zip(space.totals(archs).to_dict("records"), archs, strict=True):
        assert row == totals(space.expand(arch))


# LETI's triple


@settings(deadline=None, max_examples=50)
@given(CELLS)
def test_a_triple_comes_back(row: int) -> None:
    space = NasBench101(channels=16, cells=1, classes=100)
    archs = Architectures(space, some(row).decisions)
    matrix, layers, config = to_triple(archs[0])
    assert from_triple(matrix, layers, config) == archs
    assert config == {
        "stem_filter_size": 16,
        "num_stacks": 3,
        "num_modules_per_stack": 1,
        "image_size": 32,
        "num_labels": 100,
    }
    assert from_triple(matrix.tolist(), layers, {}).space == NasBench101()


def test_pruning_drops_what_lies_on_no_path() -> None:
    matrix = [[0, 1, 0, 1, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    layers = ["input", *OPS, "output"]
    with pytest.raises(InputError, match="No path leads from input to output"):
        prune(matrix, layers)
    matrix[1][4] = 1  # vertex 2 has no input, vertex 3 no output
    edges, left = prune(matrix, layers)
    assert edges.astype(int).tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]] and left == ["input", OPS[0], "output"]


CHAIN = np.eye(3, k=1, dtype=int).tolist()


@pytest.mark.parametrize(
    "matrix, layers, config, sentence",
    [
        ([[0, 1]], ["input", "output"], {}, "must be square, of zeros and ones"),
        ([[0, 2], [0, 0]], ["input", "output"], {}, "must be square, of zeros and ones"),
        ([[0, 1], [1, 0]], ["input", "output"], {}, "all ones above its diagonal"),
        ([[0, 1], [0]], ["input", "output"], {}, "must be square"),
        ("matrix", ["input", "output"], {}, "must be square"),
        (CHAIN, ["input", "output"], {}, "must be 3 layers"),
        (CHAIN, ["input", OPS[0], OPS[1]], {}, "from 'input' to 'output'"),
        (CHAIN, ["input", "conv5x5-bn-relu", "output"], {}, "'conv5x5-bn-relu' is not an op of NAS-Bench-101"),
        (CHAIN, ["input", OPS[0], "output"], {"num_stack": 3}, "has no 'num_stack'; it may name stem_filter_size"),
        (CHAIN, ["input", OPS[0], "output"], {"num_stacks": "3"}, "'num_stacks' of the configuration must be a whole"),
        (CHAIN, ["input", OPS[0], "output"], {"num_stacks": 0}, "is no skeleton; give it"),
        (np.eye(8, k=1), ["input", *[OPS[0]] * 6, "output"], {}, "has 8 vertices and 7 edges; NAS-Bench-101 has"),
        (np.triu(np.ones((5, 5)), 1), ["input", *OPS, "output"], {}, "has 5 vertices and 10 edges"),
    ],
)  # fmt: skip
def test_a_bad_triple_is_one_sentence(matrix: object, layers: list[str], config: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        from_triple(matrix, layers, config)


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("conv3x3:0", "'conv3x3:0' is not a NAS-Bench-101 cell; write one like"),
        ("conv3x3", "write one like"),
        (":", "write one like"),
        ("conv3x3:0.2", "write one like"),
        ("conv3x3:0.\u0661", "write one like"),
        ("conv3x3:0.1:2", "write one like"),
        ("+".join(["conv3x3"] * 6) + ":0.1.2.3.4.5.6", "write one like"),
        ("conv3x3+conv5x5:0.1.2", "'conv5x5' in 'conv3x3\\+conv5x5:0.1.2' is not an op of NAS-Bench-101; its ops are"),
        ("conv3x3+conv1x1:0.1.1", "'conv3x3\\+conv1x1:0.1.1' is not a NAS-Bench-101 cell; write one of at most 7"),
    ],
)
def test_a_bad_text_is_one_sentence(key: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        NasBench101().parse(["conv3x3:0.1", key])


def test_decisions_that_are_no_cell_are_refused() -> None:
    row = some(50).decisions.copy()
    row[0, -1] = 1  # an op at a vertex without edges
    with pytest.raises(InputError, match="are no architecture of nasbench101"):
        Architectures(SPACE, row)


# The command


def test_listing_all_cells_costs_little(tmp_path: Path) -> None:
    """The command in a process of its own, which takes 2 CPU-seconds and a quarter of a GiB; machines differ."""
    done = run("-m", "studies.measure.enumeration", "--plain", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    (plain,) = json.loads((tmp_path / "summary.json").read_text())
    assert plain["count"] == plain["distinct"] == COUNTS[-1] and plain["cpu_s"] < 15 and plain["peak_gib"] < 1
    assert {path.name for path in tmp_path.iterdir()} == {"summary.json", "nasbench101.parquet"}
    table = pd.read_parquet(tmp_path / "nasbench101.parquet")
    assert table["key"].tolist() == cells().keys
    assert pq.ParquetFile(tmp_path / "nasbench101.parquet").num_row_groups == 26
    assert (table["vertices"] == 2 + table[list(OPS)].sum(axis=1)).all() and table["edges"].max() == 9


def test_totals_of_a_smaller_space(tmp_path: Path) -> None:
    done = run(
        "-m", "datasets", "enumerate", "nasbench201(cells=1)", "--out", tmp_path / "cells.parquet", "--totals", "true"
    )
    assert "15,625 architectures of nasbench201(channels=16,cells=1" in done.stdout, done.stderr
    table = pd.read_parquet(tmp_path / "cells.parquet")
    space = NasBench201(cells=1)
    pd.testing.assert_frame_equal(table[list(space.totals(space.all()))], space.totals(space.all()))


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["nasbench201", "--hash", "true"], "has no hash of its own; leave out --hash."),
        (["fbnet"], "architectures, too many to list: sample some."),
        (["nasbench999"], "There is no space 'nasbench999'"),
    ],
)
def test_what_cannot_be_listed_is_one_sentence(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    done = run("-m", "datasets", "enumerate", *arguments, "--out", tmp_path / "x.parquet")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and sentence in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    out = tmp_path / "cells.parquet"
    pieces = write_parquet(SPACE.all(), out, described(SPACE))
    assert next(pieces) == 16_384 and [path.name[:7] for path in tmp_path.iterdir()] == [".cells."]
    pieces.close()
    assert not list(tmp_path.iterdir())


def test_ctrl_c_leaves_no_file(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "datasets",
        "enumerate",
        "nasbench101",
        "--hash",
        "true",
        "--out",
        tmp_path / "x.parquet",
    ]
    # A shell's background jobs ignore SIGINT and hand that on; a person's terminal does not.
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **heed)
    while not list(tmp_path.iterdir()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "error: Interrupted" in said and "Traceback" not in said, said
    assert not list(tmp_path.iterdir())


def test_the_block_is_the_first_cell_alone() -> None:
    space = NasBench101(channels=16, stacks=1, cells=1, image=8)
    for arch in space.sample(5, np.random.default_rng(0)):
        block, whole = space.block(arch), space.expand(arch)
        assert block.ops[0].attrs["shape"] == block.ops[-1].attrs["shape"] == (16, 8, 8)
        assert totals(whole)["macs"] == totals(block)["macs"] + 8 * 8 * 27 * 16 + 16 * space.classes
