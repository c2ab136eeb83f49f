"""Tables in one file for others: packed, checked, installed; damaged and dishonest files are refused."""

import json
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from datasets.contribution import FACTS, TABLE, add, pack
from datasets.records import InputError
from tests.conftest import ROOT, run

SMALL = ROOT / "datasets" / "bundled" / "zoo.parquet"


def rewritten(path: Path, **entries: bytes) -> Path:
    """A zip of the table and the facts, some of them replaced."""
    with zipfile.ZipFile(path.with_name("packed.zip")) as archive:
        held = {"table": archive.read(TABLE), "facts": archive.read(FACTS)} | entries
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(TABLE, held["table"])
        archive.writestr(FACTS, held["facts"])
    return path


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    pack(SMALL, tmp_path / "packed.zip")
    return tmp_path / "packed.zip"


def test_a_table_arrives_as_it_was(packed: Path, tmp_path: Path) -> None:
    facts = add(packed, tmp_path / "there.parquet")
    assert (tmp_path / "there.parquet").read_bytes() == SMALL.read_bytes()
    assert facts["devices"] and facts["hosts"] and facts["protocol"] and facts["rows"] > 10
    with pytest.raises(InputError, match="exists"):
        add(packed, tmp_path / "there.parquet")


def test_dishonest_and_damaged_files_are_refused(packed: Path, tmp_path: Path) -> None:
    facts = json.loads(zipfile.ZipFile(packed).read(FACTS))
    wrong = rewritten(tmp_path / "wrong.zip", facts=json.dumps(facts | {"rows": 1}).encode())
    with pytest.raises(InputError, match="states another rows than"):
        add(wrong, tmp_path / "x.parquet")
    (tmp_path / "cut.zip").write_bytes(packed.read_bytes()[:-100])
    rewritten(tmp_path / "deep.zip", facts=b"[" * 100_000)
    rewritten(tmp_path / "no_table.zip", table=b"PAR1")
    (tmp_path / "text.zip").write_text("hello")
    for name in ("cut", "deep", "no_table", "text"):
        with pytest.raises(InputError):
            add(tmp_path / f"{name}.zip", tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()


@pytest.mark.parametrize("text", ["/home/anna/net.onnx", "anna@example.org", "C:\\Users\\anna"])
def test_paths_and_addresses_are_not_packed(text: str, tmp_path: Path) -> None:
    table = pq.read_table(SMALL)
    meta = json.loads(table.schema.metadata[b"gnomon"])
    meta["hosts"][0]["note"] = text
    pq.write_table(table.replace_schema_metadata({b"gnomon": json.dumps(meta).encode()}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="path or an address"):
        pack(tmp_path / "t.parquet", tmp_path / "packed.zip")
    assert not (tmp_path / "packed.zip").exists()


def test_both_commands(tmp_path: Path) -> None:
    done = run("-m", "measure", "contribute", "--table", SMALL, "--out", tmp_path / "a.zip")
    assert done.returncode == 0 and "packed: " in done.stdout, done.stderr
    done = run("-m", "datasets", "add", tmp_path / "a.zip", "--out", tmp_path / "a.parquet")
    assert done.returncode == 0 and "added: " in done.stdout, done.stderr
    again = run("-m", "datasets", "add", tmp_path / "a.zip", "--out", tmp_path / "a.parquet")
    assert again.returncode == 2 and again.stderr.count("\n") == 1
