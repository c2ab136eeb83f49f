"""Memory of the activations of a run on onnxruntime, by its own rules for buffers (planner, arena and pattern).

Before the first run onnxruntime fixes the order of the nodes, and for every tensor whether it overwrites an input,
takes the buffer of a dead tensor of equal shape, or gets a buffer of its own. In the first run an arena serves the
buffers from regions of 1 MiB, 2 MiB, 4 MiB, ...; what was written there stays with the process. From the second run on
all buffers lie in one block, which was planned from the first run and is one more request to the same arena.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from datasets.networks.memory import IN_PLACE
from datasets.networks.network import Network
from datasets.networks.ops import VIEWS
from predictors.networks.ort_steps import Lowered, Step


@dataclass
class Buffer:
    """Memory of one tensor, or of several one after another.

    Attributes:
        bytes: its size.
        first, last: numbers of the steps of a run between which it is in use.
        output: whether it holds an output of the network, which is in no pattern and stays until the next run.
    """

    bytes: int
    first: int
    last: int
    output: bool = False


def activation_bytes(network: Network, batch: int = 1) -> int:
    """Bytes that two and more runs of a network take for activations, fragments of the arena included.

    Args:
        network: all ops have a `shape`.
        batch: samples per run.
    """
    arena, held = Arena(), dict[int, tuple[int, int]]()
    found = [buffer for buffer in buffers(network, batch) if buffer.bytes]
    for start, number in _events(found):
        if start:
            held[number] = arena.take(found[number].bytes)
        else:
            arena.release(held.pop(number))
    for place in held.values():
        arena.release(place)
    if block := pattern([buffer for buffer in found if not buffer.output]):
        arena.take(block)
    for buffer in found:
        if buffer.output:
            arena.take(buffer.bytes)
    return arena.written()


def buffers(network: Network, batch: int = 1) -> list[Buffer]:
    """The buffers of a run, in the order in which they are taken."""
    lowered = Lowered(network, batch)
    steps = lowered.steps
    order = _order([step.reads for step in steps], [step.writes for step in steps])
    plan = _Plan(lowered, Counter(tensor for step in steps for tensor in set(step.reads)))
    for time, number in enumerate(order):
        plan.step(time, steps[number])
    return plan.buffers


def _order(reads: Sequence[Sequence[int]], writes: Sequence[Sequence[int]]) -> list[int]:
    """Steps in onnxruntime's order: depth first from the last step without a reader, later inputs first."""
    writer = {node: number for number, nodes in enumerate(writes) for node in nodes}
    before = [sorted({writer[node] for node in nodes if node in writer}) for nodes in reads]
    read = {number for numbers in before for number in numbers}
    waiting = [(number, False) for number in range(len(reads)) if number not in read]
    seen, order = set[int](), list[int]()
    while waiting:
        number, ready = waiting.pop()
        if ready:
            order.append(number)
        elif number not in seen:
            seen.add(number)
            waiting += [(number, True), *((earlier, False) for earlier in before[number] if earlier not in seen)]
    return order


class _Plan:
    """Gives every tensor a buffer, step after step."""

    def __init__(self, lowered: Lowered, readers: Counter[int]) -> None:
        self.shape, self.size, self.ends, self.readers = lowered.shape, lowered.size, lowered.ends, readers
        self.buffers: list[Buffer] = []
        self.of: dict[int, int] = {}  # tensor -> buffer
        self.left: list[int] = []  # per buffer: reads still to come
        self.free: list[tuple[int, tuple[int, ...]]] = []  # buffers of dead tensors, and the tensors' shapes

    def step(self, time: int, step: Step) -> None:
        for tensor in step.writes:
            self.of[tensor] = place = self._place(time, step, tensor)
            self.left[place] += self.readers[tensor]
            self.buffers[place].last = max(self.buffers[place].last, time)
        for tensor in set(step.reads) & self.of.keys():
            place = self.of[tensor]
            self.left[place] -= 1
            self.buffers[place].last = max(self.buffers[place].last, time)
            if not self.left[place] and not self.buffers[place].output:
                self.free.insert(0, (place, self.shape[tensor]))

    def _place(self, time: int, step: Step, tensor: int) -> int:
        """The buffer of a tensor: an input's, a dead tensor's or a new one."""
        output, size = tensor in self.ends, self.size[tensor]
        if not output:
            if step.kind in VIEWS and step.reads[0] in self.of:
                return self.of[step.reads[0]]
            for source in step.reads if step.kind in IN_PLACE else ():
                place = self.of.get(source, -1)
                last = place >= 0 and self.left[place] == 1 and not self.buffers[place].output
                if last and self.size[source] == size:
                    return place
            for position, (place, shape) in enumerate(self.free):
                if shape == self.shape[tensor] and self.buffers[place].bytes == size:
                    self.free.pop(position)
                    return place
        self.buffers.append(Buffer(size, time, time, output))
        self.left.append(0)
        return len(self.buffers) - 1


def _events(found: Sequence[Buffer]) -> list[tuple[bool, int]]:
    """Requests (True) and returns (False) of buffers by number, in the order of a run; outputs are not returned."""
    takes = [(buffer.first, False, number) for number, buffer in enumerate(found)]
    returns = [(buffer.last, True, number) for number, buffer in enumerate(found) if not buffer.output]
    return [(not back, number) for _, back, number in sorted(takes + returns)]


def pattern(found: Sequence[Buffer]) -> int:
    """Bytes of the block in which all buffers lie from the second run on: each in the smallest gap that is left."""
    placed, end = dict[int, tuple[int, int]](), 0
    for start, number in _events(found):
        if not start:
            del placed[number]
            continue
        size, gap, offset, cursor = -(-found[number].bytes // 64) * 64, -1, -1, 0
        for begin, stop in sorted(placed.values()):
            if size <= begin - cursor and (gap < 0 or begin - cursor < gap):
                gap, offset = begin - cursor, cursor
            cursor = max(cursor, stop)
        offset = cursor if offset < 0 else offset
        placed[number] = offset, offset + size
        end = max(end, offset + size)
    return end


class Arena:
    """Regions of twice the size of the one before, in which the smallest free chunk that is large enough is taken."""

    def __init__(self) -> None:
        self.next = 2**20
        self.chunks: list[dict[int, tuple[int, bool]]] = []  # per region: offset -> size, free
        self.marks: list[list[tuple[int, int]]] = []  # per region: what was written

    def take(self, size: int) -> tuple[int, int]:
        """The region and the offset of a new chunk."""
        size = -(-size // 256) * 256
        free = [
            (length, region, offset)
            for region, chunks in enumerate(self.chunks)
            for offset, (length, unused) in chunks.items()
            if unused and length >= size
        ]
        length, region, offset = min(free, default=(0, 0, 0))
        if not free:
            length, region, offset = self._extend(size), len(self.chunks) - 1, 0
        if length >= 2 * size or length - size >= _WASTE:
            self.chunks[region][offset + size] = length - size, True
            length = size
        self.chunks[region][offset] = length, False
        self.marks[region].append((offset, offset + size))
        return region, offset

    def _extend(self, size: int) -> int:
        enough = self.next >= size
        while self.next < size:
            self.next *= 2
        length = self.next
        self.chunks.append({0: (length, True)})
        self.marks.append([])
        self.next *= 2 if enough else 1
        return length

    def release(self, place: tuple[int, int]) -> None:
        """Free a chunk, and join it with free neighbours."""
        region, offset = place
        chunks, joined = self.chunks[region], list[tuple[int, int, bool]]()
        chunks[offset] = chunks[offset][0], True
        for begin, (length, unused) in sorted(chunks.items()):
            if unused and joined and joined[-1][2]:
                joined[-1] = joined[-1][0], joined[-1][1] + length, True
            else:
                joined.append((begin, length, unused))
        self.chunks[region] = {begin: (length, unused) for begin, length, unused in joined}

    def written(self) -> int:
        """Bytes of all regions that were ever part of a chunk in use."""
        total = 0
        for marks in self.marks:
            end = 0
            for begin, stop in sorted(marks):
                total += max(0, stop - max(begin, end))
                end = max(end, stop)
        return total


_WASTE = 128 * 2**20  # a chunk that is larger than its request by this is split
