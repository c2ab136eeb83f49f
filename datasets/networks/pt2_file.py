"""Files of torch.export (.pt2) as networks. Their graph is JSON; nothing else of them is opened.

Sample inputs and some weights in such a file are pickles, which may run code; neither is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets.files.reading import existing, shortened
from datasets.files.zip_entry import UNREADABLE
from datasets.networks.analysis import check_network
from datasets.networks.model import Model
from datasets.networks.onnx_file import file_key
from datasets.networks.onnx_graph import check_totals
from datasets.networks.pt2_archive import DAMAGED, read_graph
from datasets.networks.torch_ops import TorchReader
from datasets.networks.torch_program import Call, Program, Ref
from datasets.records import InputError

LARGEST = 2**40
"""Largest side of a tensor."""
_DEEPEST = 20  # graphs in graphs
_TYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
          10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16", 29: "float8", 30: "float8",
          31: "float8", 32: "float8"}  # fmt: skip


def read_pt2(path: Path, batch: int | None = None) -> Model:
    """Read the network in a file that `torch.export.save` wrote, without its weights.

    Sizes that the file leaves open are those of the inputs with which it was exported; a note reports that.

    Args:
        path: the file.
        batch: None, or the batch of these inputs.

    Raises:
        InputError: there is no such file, it is damaged or something else, has control flow, or another batch.
    """
    path = existing(Path(path), "name a .pt2 file")
    try:
        document = read_graph(path)
    except (*UNREADABLE, RecursionError) as error:
        raise InputError(
            f"{path} is no program of torch.export, or damaged ({shortened(error)}); write it again by "
            "torch.export.save(program, 'm.pt2')."
        ) from error
    try:
        reader = TorchReader(_program(document, path), str(path))
        network = check_network(reader.read("pt2", file_key(path)))
    except DAMAGED as error:
        why = shortened(f"{type(error).__name__}: {error}", 100)
        raise InputError(f"The graph in {path} is damaged ({why}); export the module again.") from error
    check_totals(network, str(path))
    if batch not in (None, network.batch):
        raise InputError(f"{path} was exported for a batch of {network.batch}; leave the batch {batch} out.")
    shapes = tuple(reader.program.shapes[name] for name in reader.program.inputs)
    return Model(network, None, path, reader.program.notes, shapes=shapes)


def _program(document: Any, path: Path) -> Program:
    """The program in a JSON document; every shape is checked."""
    module, program, notes = document["graph_module"], Program(), set[str]()
    specs = module["signature"]["input_specs"]
    for spec in specs:
        if "parameter" in spec:
            name, target = spec["parameter"]["arg"]["name"], spec["parameter"]["parameter_name"]
            program.weights[_text(name)] = _text(target)
        elif "user_input" in spec and "as_tensor" in spec["user_input"]["arg"]:
            program.inputs.append(_text(spec["user_input"]["arg"]["as_tensor"]["name"]))
    for spec in module["signature"]["output_specs"]:
        if "user_output" in spec and "as_tensor" in spec["user_output"]["arg"]:
            program.outputs.append(_text(spec["user_output"]["arg"]["as_tensor"]["name"]))
    _read_graph(module["graph"], program, {}, "", notes, path)
    if notes:
        program.notes = (f"Open sizes are those of the inputs with which {path.name} was exported.",)
    if missing := {*program.inputs, *program.outputs, *program.weights} - set(program.shapes):
        raise KeyError(f"no shape of {min(missing)}")
    return program


def _read_graph(
    graph: Any, program: Program, names: dict[str, str], prefix: str, notes: set[str], path: Path, depth: int = 0
) -> None:
    """Add a graph's calls. `names` maps its inputs to tensors of the outer graph; its own names get a `prefix`."""
    if depth > _DEEPEST:
        raise ValueError("graphs in graphs in graphs")
    for name, meta in graph["tensor_values"].items():
        name = names.get(name, prefix + name)
        program.shapes[name] = tuple(_size(size, notes) for size in meta["sizes"])
        program.dtypes[name] = _TYPES.get(meta["dtype"], "float32")
    for node in graph["nodes"]:
        op = _text(node["target"]).removeprefix("torch.ops.")
        outputs = [names.get(name, prefix + name) for output in node["outputs"] for name in _tensors(output)]
        if op.startswith("higher_order."):
            if not op.startswith("higher_order.wrap_"):
                raise InputError(f"{path} has control flow ({shortened(op, 60)}); export the module without it.")
            (inner,) = (value["arg"]["as_graph"]["graph"] for value in node["inputs"] if "as_graph" in value["arg"])
            given = [n for value in node["inputs"] if "as_graph" not in value["arg"] for n in _tensors(value["arg"])]
            held = [n for value in inner["inputs"] for n in _tensors(value)]
            outer = {n: names.get(o, prefix + o) for n, o in zip(held, given, strict=True)}
            ends = [n for value in inner["outputs"] for n in _tensors(value)]
            own = f"{prefix}{_text(node['name'])}/"
            _read_graph(inner, program, outer, own, notes, path, depth + 1)
            pairs = [(outer.get(n, own + n), output) for n, output in zip(ends, outputs, strict=True)]
            program.calls += [Call("aten.alias", {"self": Ref(n)}, [output]) for n, output in pairs]
        elif outputs:
            args = {_text(v["name"]): _argument(v["arg"], names, prefix) for v in node["inputs"]}
            call = Call(op.rpartition(".")[0], args, outputs)
            if unknown := {*call.refs(), *outputs} - set(program.shapes):
                raise KeyError(f"no shape of {min(unknown)}")
            program.calls.append(call)


def _tensors(value: Any) -> list[str]:
    """Names of the tensors in an input or output."""
    ((kind, content),) = value.items()
    if kind == "as_tensor":
        return [_text(content["name"])]
    if kind == "as_tensors":
        return [_text(part["name"]) for part in content]
    if kind == "as_optional_tensor":
        return _tensors(content)
    return (
        [n for part in content for n in _tensors(part)] if kind in ("as_optional_tensors", "as_nested_tensors") else []
    )


def _argument(value: Any, names: dict[str, str], prefix: str) -> Any:
    """A number, text or tensor, or a list of these; None for anything else, such as a computed size."""
    ((kind, content),) = value.items()
    if kind in ("as_int", "as_float", "as_string", "as_bool"):
        if not isinstance(content, int | float | str):
            raise TypeError(kind)
        return content
    if kind in ("as_ints", "as_floats", "as_bools"):
        if not all(isinstance(part, int | float) for part in content):
            raise TypeError(kind)
        return content
    if kind in ("as_sym_int", "as_sym_float"):
        return content.get("as_int", content.get("as_float"))
    if kind == "as_sym_ints":
        return [part.get("as_int") for part in content]
    found = [Ref(names.get(name, prefix + name)) for name in _tensors(value)]
    if kind in ("as_tensor", "as_optional_tensor"):
        return found[0] if found else None
    return found if found else None


def _size(size: Any, notes: set[str]) -> int:
    """One side of a tensor; if it is open, that of the example."""
    if "as_int" not in size:
        size = size["as_expr"]["hint"]
        notes.add("open")
    number = size["as_int"]
    if type(number) is not int or not 0 <= number <= LARGEST:
        raise ValueError("a size is no whole number")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a name is no text")
    return value
