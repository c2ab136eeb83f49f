"""The list of public networks and what is measured of them; none is made here."""

import json
from pathlib import Path

import pytest

from datasets.files.table_file import read_table
from datasets.measured import Measured
from datasets.networks.reading import read_model
from datasets.networks.torch_module import read_torch
from datasets.records import InputError
from studies.tables import networks, public
from tests.conftest import ROOT, run

TABLE = ROOT / "datasets" / "bundled" / "networks.parquet"


def test_there_are_many_networks_of_many_families_each_once() -> None:
    lists = [*public.TORCHVISION.values(), *public.TIMM.values()]
    names = [name for text in lists for name in text.split()]
    names += list(public.TRANSFORMERS)
    assert len(set(names)) == len(names) == len(public.FAMILIES) >= 120
    assert len(set(public.FAMILIES.values())) >= 40


@pytest.mark.parametrize("stage", networks.STAGES)
def test_every_stage_measures_networks_of_the_list(stage: str) -> None:
    names = networks.stage_names(stage)
    assert {name.partition("__")[0] for name in names} <= set(public.FAMILIES)
    assert len(names) >= {"others": networks.COMPILED, "sizes": 20 * 7}.get(stage, len(public.FAMILIES))
    first = list(names)[: len(names) // 4]
    assert len({public.FAMILIES[name.partition("__")[0]] for name in first}) >= min(15, len(first) // 6)


def test_a_size_that_a_network_does_not_have_is_refused() -> None:
    for name in ("bert_tiny__side64", "resnet18__sequence16", "resnet18__batch0"):
        with pytest.raises(InputError, match=f"{name} has no size"):
            public.made(name)
    with pytest.raises(InputError, match="gives no network"):
        read_torch("studies.tables.public:no_such_network", weights=False)


def test_an_unknown_stage_is_refused() -> None:
    done = run("-m", "studies.tables.networks", "--stage", "fp64")
    assert done.returncode == 2 and "stages are export, fp32" in done.stderr and "Traceback" not in done.stderr


def test_the_table_has_the_family_of_each_network(tmp_path: Path) -> None:
    journal, out = tmp_path / "j.jsonl", tmp_path / "networks.parquet"
    done = run("-m", "measure", "run", "--space", "zoo", "--limit", 1, "--backend", "ort", "--protocol", "quick",
               "--journal", journal)  # fmt: skip
    assert done.returncode == 0, done.stderr
    row, keys = json.loads(journal.read_text()), ("bert_tiny", "resnet18__batch4", "resnet18")
    graph = read_model("zoo:lenet5").network.to_json()
    rows = [row | {"space": "onnx", "key": f"{key}.onnx:0123", "network": graph} for key in keys]
    other = rows[2] | {"key": "resnet18.onnx:4567", "device": row["device"] | {"name": "other_ort_fp32_1"}}
    journal.write_text("".join(json.dumps(row) + "\n" for row in [*rows, other]))
    for sizes, found in ((False, {"bert_tiny": "bert"}), (True, {"resnet18__batch4": "resnet"})):
        networks.table(journal, out, row["device"]["name"].partition("_")[0], sizes)
        table, _ = read_table(out)
        assert dict(zip(table["name"], table["family"], strict=True)) == {"resnet18": "resnet"} | found
    networks.table(journal, out, "other")
    (key,), (known,) = (read_table(out)[0].drop_duplicates("key")[name] for name in ("key", "network"))
    assert key == "resnet18.onnx:0123" and known == graph


@pytest.mark.skipif(not TABLE.exists(), reason="networks.parquet is not measured yet")
def test_the_bundled_networks_are_networks_with_families() -> None:
    table, _ = read_table(TABLE)
    assert table["family"].notna().all() and table["network"].notna().sum() == table["key"].nunique()
    assert len(Measured(TABLE).measurements().architectures) == table["key"].nunique()
