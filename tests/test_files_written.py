"""Whatever the project writes goes through `datasets.files.writing`: a walk over the sources finds other writers."""

import ast
from collections.abc import Iterator

from tests.conftest import ROOT

TEMPORARY = {"whole_file", "whole_folder", "TemporaryDirectory"}
"""What is written inside of such a block is moved to its place by it, or is gone afterwards."""
WRITERS = {"write_text", "write_bytes", "to_parquet", "to_csv", "to_json", "write_table", "ParquetWriter", "savefig"}
WRITERS |= {"copyfile", "copy", "copy2", "copytree", "move", "savez"}
MODULES = {"torch": {"save"}, "np": {"save", "savetxt"}, "onnx": {"save"}, "json": {"dump"}, "yaml": {"dump"}}
EXCEPTIONS = {
    "datasets/files/writing.py": "the helper itself",
    "datasets/files/folders.py": "the helper of folders, and their locks",
    "datasets/public/fetch.py": "downloads go on where they stopped",
    "measure/campaign.py": "a journal is only added to",
    "measure/remote/runner.py": "a journal is only added to; the lock of a machine",
    "search/netadapt/record.py": "a journal is only added to",
    "measure/remote/messages.py": "files of a message, in a temporary folder of its receiver",
    "measure/remote/machine.py": "a message's arrays, in a temporary folder",
    "datasets/blocks/operation_graph.py": "the file of an operation, in a temporary folder of its caller",
    "measure/backends": "artefacts: `build` is given a temporary folder",
    "measure/builders/onnx_precision.py": "the same",
    "datasets/files/checkpoint.py": "bytes in memory",
    "datasets/networks/model.py": "bytes in memory",
    "predictors/run_folder.py": "the folder of a run, which `whole_folder` moves",
    "predictors/report.py": "a picture in memory",
}


def _writers(tree: ast.AST, safe: bool = False) -> Iterator[ast.Call]:
    """Calls that write a file where no block makes it whole."""
    if isinstance(tree, ast.With):
        calls = [item.context_expr for item in tree.items if isinstance(item.context_expr, ast.Call)]
        safe = safe or any(ast.unparse(call.func).split(".")[-1] in TEMPORARY for call in calls)
    if isinstance(tree, ast.Call) and not safe and _writes(tree):
        yield tree
    for child in ast.iter_child_nodes(tree):
        yield from _writers(child, safe)


def _writes(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Name):
        return call.func.id == "open" and _mode(call, 1)
    if not isinstance(call.func, ast.Attribute):
        return False
    name, owner = call.func.attr, ast.unparse(call.func.value)
    if name in ("replace", "rename"):  # of a path; text has two arguments, a table a constant or named ones
        return len(call.args) == 1 and not call.keywords and not isinstance(call.args[0], ast.Constant)
    if name == "copy":
        return owner == "shutil"
    if owner == "super()":  # the method that this one extends: whoever calls it is found
        return False
    if name == "to_json" and not call.args:  # a text
        return False
    return name in WRITERS or name in MODULES.get(owner, ()) or (name == "open" and _mode(call, 0))


def _mode(call: ast.Call, place: int) -> bool:
    modes = [*call.args[place : place + 1], *(k.value for k in call.keywords if k.arg == "mode")]
    return any(isinstance(mode, ast.Constant) and set(str(mode.value)) & set("wax+") for mode in modes)


def test_files_are_written_whole_everywhere() -> None:
    rooms = [ROOT / room for room in ("datasets", "encoders", "predictors", "measure", "search")]
    found: dict[str, list[str]] = {}
    for path in [*(file for room in rooms for file in room.rglob("*.py")), ROOT / "train.py"]:
        name = str(path.relative_to(ROOT))
        for call in _writers(ast.parse(path.read_text())):
            found.setdefault(name, []).append(f"{name}:{call.lineno}: {ast.unparse(call)[:80]}")
    excepted = {name: next((e for e in EXCEPTIONS if name.startswith(e)), "") for name in found}
    wrong = [line for name, lines in found.items() if not excepted[name] for line in lines]
    assert not wrong, "write these with datasets.files.writing:\n" + "\n".join(wrong)
    assert set(excepted.values()) == set(EXCEPTIONS), "an exception that nothing needs any more"


def test_the_walk_finds_writers() -> None:
    for line in (
        "path.write_text('a')", "open('a', 'w')", "path.open(mode='ab')", "part.replace(path)", "torch.save(a, path)",
        "shutil.copyfile(a, b)", "figure.savefig(path)", "np.save(path, a)", "table.to_parquet(path)",
    ):  # fmt: skip
        assert list(_writers(ast.parse(line))), line
        assert not list(_writers(ast.parse(f"with whole_file(out) as part:\n    {line}")))
    for line in ("text.replace('a', 'b')", "write_text(path, 'a')", "path.open()", "table.rename(columns=a)"):
        assert not list(_writers(ast.parse(line))), line
