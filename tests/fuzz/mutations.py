"""Damage that fits any file: bytes, lines of text, values of nested containers."""

import codecs
import json
import math
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

SENTINEL = "gnomon_sentinel"
"""A module that nothing may import: what a file names is data."""

NUMBERS = (0, -1, 1, 2, 255, 2**31, 2**63, -(2**63), 2**200, 1e-320, 0.5, 1e308, -1e308, math.nan, math.inf, -math.inf)
WORDS = (
    "", " ", "\n", "\0", "a", "0", "nan", "null", "é", "\U0001f600", "\u202eabc", "$\\frac{", "%s%n", "{0}", "../x",
    "/",
    ".", "/dev/null", "/proc/self/mem", "a,b", "a=b", "--help", "nasbench201", "nasbench201(channels=0)", "conv(",
    "None",
    "x" * 10_000, "\t" * 300, "latency_ms", "toy_0",
)  # fmt: skip
CLASS_PATHS = (
    f"{SENTINEL}.Thing", f"{SENTINEL}.run", SENTINEL, f"datasets.{SENTINEL}", "os.system", "builtins.eval",
    "builtins.print",
    "logging.config.dictConfig", "subprocess.Popen", "datasets.cli.main", "datasets.files.writing.write_text",
    "datasets",
    "datasets.splits.Random.__init__", "predictors.base.Predictor", "predictors.linear.Linear",
    "predictors.linear.np.save",
    "predictors.linear", "encoders.cell.CellOneHot", "datasets.measured.Measured", "pathlib.Path", "", ".", "a..b",
    "tests",
    "datasets.splits.HeldOutArchitectures", "predictors.blend.Blend", "torch.load", "pickle.loads", "1.2",
)  # fmt: skip


def change_bytes(content: bytes, rng: Random) -> bytes:
    """Flipped bits, holes, copies, cuts, extreme integers; sometimes several."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        size = len(content)
        i, j = sorted((rng.randint(0, size), rng.randint(0, size)))
        k = min(size, i + rng.choice((1, 2, 4, 8, 16, 100)))
        kind = rng.randrange(11)
        if kind <= 2 and size:
            flipped = bytearray(content)
            for _ in range(rng.choice((1, 1, 2, 10))):
                flipped[rng.randrange(size)] ^= 1 << rng.randrange(8)
            content = bytes(flipped)
        elif kind == 3:
            content = content[:i]
        elif kind == 4:
            content = content[:i] + content[k:]
        elif kind == 5:
            content = content[:j] + content[i:k] * rng.choice((1, 2, 50)) + content[j:]
        elif kind == 6:
            content = content[:i] + rng.randbytes(k - i) + content[k:]
        elif kind == 7:
            wide = rng.choice((1, 2, 4, 8))
            number = rng.choice((0, -1, 1, 2**31 - 1, -(2**31), 2**63 - 1, 127, 65535, 10**6)) % 256**wide
            content = content[:i] + number.to_bytes(wide, rng.choice(("little", "big"))) + content[i + wide :]
        elif kind == 8:
            content = content[:i] + content[j:] if rng.random() < 0.3 else content[i:]
        elif kind == 9:
            content = content[:i] + bytes(rng.choice((1, 10, 1000))) + content[i:]
        else:
            content = rng.choice((b"", content * 2, content[::-1], rng.randbytes(50), b"\n", b"PK\x03\x04"))
    return content[: 2**20]


def change_text(content: bytes, rng: Random) -> bytes:
    """Lines and words of a text, and encodings of it."""
    lines = content.decode(errors="replace").split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        i, j = rng.randrange(len(lines) + 1), rng.randrange(len(lines))
        kind = rng.randrange(10)
        if kind == 0 and len(lines) > 1:
            del lines[j]
        elif kind == 1:
            lines.insert(i, lines[j])
        elif kind == 2:
            lines[j] = rng.choice(WORDS)
        elif kind == 3:
            lines.insert(i, rng.choice(("", " ", "#", ",", ",,,,", "\t", "---", "{", '"', "'", "\ufeff", "\x1a")))
        elif kind == 4:
            lines[j] = lines[j][: rng.randrange(len(lines[j]) + 1)]
        elif kind <= 7 and lines[j]:
            words = lines[j].replace(",", " , ").replace(":", " : ").split(" ")
            words[rng.randrange(len(words))] = str(rng.choice((*NUMBERS, *WORDS, *CLASS_PATHS)))
            lines[j] = " ".join(words).replace(" , ", ",")
        elif kind == 8:
            rng.shuffle(lines)
        else:
            lines[j] = lines[j] * rng.choice((2, 200))
    text = "\n".join(lines)
    coded: tuple[Callable[[], bytes], ...] = (
        lambda: text.encode("utf-16"),
        lambda: text.encode("latin-1", "replace") + b"\xe9",
        lambda: codecs.BOM_UTF8 + text.encode(),
        lambda: text.replace("\n", "\r\n").encode(),
        lambda: text.replace("\n", "\r").encode(),
        lambda: text.encode("utf-32"),
    )
    return rng.choice(coded)() if rng.random() < 0.2 else text.encode(errors="surrogatepass")


def change_tree(tree: Any, rng: Random, leaf: Callable[[Any, Random], Any] | None = None) -> Any:
    """Nested dicts and lists with a few values deleted, swapped, renamed, nested, replaced by what nobody expects.

    Args:
        tree: stays as it is.
        rng: draws.
        leaf: changes values that are neither containers nor plain.
    """
    tree = _copied(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        holder = {"": tree}
        places = list(_places(holder))
        box, key = rng.choice(places)
        value = box[key]
        kind = rng.randrange(12)
        if kind == 0 and box is not holder:
            del box[key]
        elif kind == 1:
            other, name = rng.choice(places)
            box[key] = _copied(other[name])
        elif kind == 2 and isinstance(box, dict) and box is not holder:
            box[rng.choice((*WORDS, *box, 0, None, True))] = box.pop(key)
        elif kind == 3:
            box[key] = rng.choice(([value], {"a": value}, {"class_path": value}, [value, value], [value] * 1000))
        elif kind == 4 and isinstance(value, list) and value:
            box[key] = rng.choice((value * 2, value[:1], value[::-1], value[1:], [*value, value[0]], []))
        elif kind == 5 and isinstance(value, str):
            box[key] = _changed_word(value, rng)
        elif kind == 6 and isinstance(value, int | float):
            box[key] = rng.choice((value + 1, -value, value * 1000, value / 3, str(value), bool(value)))
        elif kind == 7:
            box[key] = _deep(rng.choice((3, 60, 400)), rng)
        elif kind == 8:
            box[key] = hostile(rng)
        elif kind == 9 and leaf is not None and not isinstance(value, dict | list | str | int | float | None):
            box[key] = leaf(value, rng)
        else:
            box[key] = odd(rng)
        tree = holder[""]
    return tree


def odd(rng: Random) -> Any:
    """A value that hardly any field expects."""
    return rng.choice(
        (rng.choice(NUMBERS), rng.choice(WORDS), rng.choice((None, True, False, [], {}, [[]], [None], {"a": 1})))
    )


def hostile(rng: Random) -> Any:
    """A value that names a class, mostly one that must not be touched."""
    path = rng.choice(CLASS_PATHS)
    loud = {"version": 1, "handlers": {"h": {"()": f"{SENTINEL}.run"}}, "root": {"handlers": ["h"]}}
    arguments = rng.choice(
        (None, {}, {"config": loud}, {"command": "true"}, {"path": "x", "text": "y"}, [1], "x", loud)
    )
    return rng.choice((path, {"class_path": path}, {"class_path": path, "init_args": arguments}))


def change_json(content: bytes, rng: Random) -> bytes:
    """A JSON text with an edited tree, or damaged as a text or as bytes."""
    if rng.random() < 0.3:
        return any_damage(content, rng)
    return json.dumps(change_tree(json.loads(content), rng)).encode(errors="surrogatepass")


def any_damage(content: bytes, rng: Random) -> bytes:
    """What needs no knowledge of the format."""
    return rng.choice((change_bytes, change_text))(content, rng)


def _changed_word(text: str, rng: Random) -> str:
    i = rng.randrange(len(text) + 1)
    cut = text[:i], text[i:]
    return rng.choice(
        (cut[0], cut[1], cut[0] + rng.choice(WORDS) + cut[1], text.upper(), text * 2, text + " ", cut[1] + cut[0])
    )


def _deep(depth: int, rng: Random) -> Any:
    value: Any = odd(rng)
    wrap = rng.choice((lambda inner: [inner], lambda inner: {"init_args": inner}))
    for _ in range(depth):
        value = wrap(value)
    return value


def _places(box: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a tree, depth first."""
    stack = [box]
    while stack:
        box = stack.pop()
        for key in list(box) if isinstance(box, dict) else range(len(box)):
            yield box, key
            if isinstance(box[key], dict | list) and box[key]:
                stack.append(box[key])


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value
