"""Files that users name are read or refused in one sentence; files of ours are written whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from datasets.files.reading import parse_yaml, read_json, read_text, read_words, read_yaml
from datasets.files.writing import check_writable, whole_file, write_text
from datasets.records import InputError
from tests.conftest import ROOT


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.txt"
    write_text(path, "one")
    path.chmod(0o640)
    write_text(path, "two")
    assert path.read_text() == "two" and path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_failing_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "one")
    with pytest.raises(RuntimeError), whole_file(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "one" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "one")
    with pytest.raises(InputError, match="No space left on device"), whole_file(path):
        raise OSError(28, os.strerror(28))
    assert path.read_text() == "one"


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "one")
    code = (
        "import os, sys; from pathlib import Path; from datasets.files.writing import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as part:\n    part.write_text('half'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT).returncode == -9
    assert path.read_text() == "one"


def test_two_writers_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a.txt") as one, whole_file(tmp_path / "a.txt") as two:
        assert one != two
        one.write_text("one"), two.write_text("two")
    assert (tmp_path / "a.txt").read_text() == "one"


def test_links_stay_and_pipes_are_written_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real.txt")
    write_text(tmp_path / "link", "one")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real.txt").read_text() == "one"
    write_text(Path("/dev/null"), "nothing")
    with pytest.raises(InputError, match="folder"):
        write_text(tmp_path, "a")


@pytest.mark.parametrize("name", ["zero\0byte", "n" * 5000, "file/below", "."])
def test_what_cannot_be_written_is_one_short_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for write in (check_writable, lambda path: write_text(path, "a")):
        with pytest.raises(InputError, match="^Cannot write") as caught:
            write(tmp_path / name)
        assert len(str(caught.value)) < 500
    check_writable(tmp_path / "new" / "a.txt")
    check_writable(Path("/dev/null"))
    assert not list((tmp_path / "new").iterdir())


def test_texts_of_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("a b".encode("utf-16"))
    assert read_words(path, "write words") == ["a", "b"]
    path.write_bytes("größe".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        read_text(path, "write words")
    path.write_bytes(b"\n")
    with pytest.raises(InputError, match="empty"):
        read_words(path, "write words")


@pytest.mark.parametrize("path", ["nowhere.txt", "x" * 5000, "zero\0byte", "."])
def test_what_is_no_file_is_one_short_sentence(path: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="write words") as caught:
        read_text(tmp_path / path, "write words")
    assert len(str(caught.value)) < 500


def test_yaml_that_grows_or_nests_is_refused(tmp_path: Path) -> None:
    assert parse_yaml("a: &x {b: [1, 2]}\nc: *x", "text") == {"a": {"b": [1, 2]}, "c": {"b": [1, 2]}}
    bomb = "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    for text, match in (
        (bomb, "aliases"), ("[" * 5000, "nested"), ("a: [", "not valid"), ("2001-99-99", "not valid"),
        ("!!timestamp x", "not valid"), ("!!bool x", "not valid"), ("!!int ''", "not valid"),
        ("!!python/object/apply:os.system [true]", "not valid"), ("? {a: b}\n: c", "not valid"),
        ('a: "\\ud800"', "half a character"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=match):
            parse_yaml(text, "text")
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError):
        read_yaml(tmp_path / "a.yaml", "write it")
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="JSON"):
        read_json(tmp_path / "a.json", "write it")
