"""Memory of the activations of a run on onnxruntime, by its own rules for buffers (planner, arena and pattern).

Before the first run onnxruntime fixes the order of the nodes, and for every tensor whether it overwrites an input,
takes the buffer of a dead tensor of equal shape, or gets a buffer of its own. In the first run an arena serves the
buffers from regions of 1 MiB, 2 MiB, 4 MiB, ...; what was written there stays with the process. From the second run on
all buffers lie in one block, which was planned from the first run and is one more request to the same arena.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from datasets.networks.memory import IN_PLACE
from datasets.networks.network import Network
from datasets.networks.ops import VIEWS
from predictors.networks.ort_steps import Lowered, Step

Place = tuple[int, int]
"""A region of the arena, and an offset in it."""


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
    arena, held = Arena(), dict[int, Place]()
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
        self.free: dict[tuple[tuple[int, ...], int], list[int]] = {}  # buffers of dead tensors by shape and size

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
                self.free.setdefault((self.shape[tensor], self.buffers[place].bytes), []).append(place)

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
            if dead := self.free.get((self.shape[tensor], size)):
                return dead.pop()
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
    placed, of, end = list[tuple[int, int]](), dict[int, tuple[int, int]](), 0
    for start, number in _events(found):
        if not start:
            placed.pop(bisect_left(placed, of.pop(number)))
            continue
        size = -(-found[number].bytes // 64) * 64
        offset = _smallest_gap(placed, size)
        of[number] = offset, offset + size
        insort(placed, of[number])
        end = max(end, offset + size)
    return end


def _smallest_gap(placed: Sequence[tuple[int, int]], size: int) -> int:
    """Offset of the smallest gap that is large enough, or behind all that is placed; with very many, only that."""
    found, gap, cursor = -1, 0, 0
    for begin, stop in placed if len(placed) <= _MOST_PLACED else placed[-1:]:
        if size <= begin - cursor and len(placed) <= _MOST_PLACED and (found < 0 or begin - cursor < gap):
            found, gap = cursor, begin - cursor
        cursor = stop
    return cursor if found < 0 else found


class Arena:
    """Regions of twice the size of the one before, in which the smallest free chunk that is large enough is taken."""

    def __init__(self) -> None:
        self.next = 2**20
        self.regions = 0
        self.used: dict[Place, int] = {}  # length of chunks in use
        self.free: dict[Place, int] = {}  # length of free chunks
        self.ends: dict[Place, int] = {}  # end of a free chunk -> its offset
        self.sizes: list[tuple[int, int, int]] = []  # length, region and offset of free chunks, in order
        self.marks: list[tuple[int, int, int]] = []  # region, offset and end of what was written

    def take(self, size: int) -> Place:
        """The region and the offset of a new chunk."""
        size = -(-size // 256) * 256
        place = bisect_left(self.sizes, (size, 0, 0))
        if place == len(self.sizes):
            self._extend(size)
            place = bisect_left(self.sizes, (size, 0, 0))
        length, region, offset = self.sizes[place]
        self._forget(region, offset)
        if length >= 2 * size or length - size >= _WASTE:
            self._keep(region, offset + size, length - size)
            length = size
        self.used[region, offset] = length
        self.marks.append((region, offset, offset + size))
        return region, offset

    def release(self, place: Place) -> None:
        """Free a chunk, and join it with free neighbours."""
        (region, offset), length = place, self.used.pop(place)
        if (region, offset + length) in self.free:
            length += self._forget(region, offset + length)
        if (region, offset) in self.ends:
            offset = self.ends[region, offset]
            length += self._forget(region, offset)
        self._keep(region, offset, length)

    def written(self) -> int:
        """Bytes of all regions that were ever part of a chunk in use."""
        total, place, end = 0, -1, 0
        for region, begin, stop in sorted(self.marks):
            end = end if region == place else 0
            total += max(0, stop - max(begin, end))
            place, end = region, max(end, stop)
        return total

    def _extend(self, size: int) -> None:
        enough = self.next >= size
        while self.next < size:
            self.next *= 2
        self._keep(self.regions, 0, self.next)
        self.regions += 1
        self.next *= 2 if enough else 1

    def _keep(self, region: int, offset: int, length: int) -> None:
        self.free[region, offset], self.ends[region, offset + length] = length, offset
        insort(self.sizes, (length, region, offset))

    def _forget(self, region: int, offset: int) -> int:
        length = self.free.pop((region, offset))
        del self.ends[region, offset + length]
        self.sizes.pop(bisect_left(self.sizes, (length, region, offset)))
        return length


_WASTE = 128 * 2**20  # a chunk that is larger than its request by this is split
_MOST_PLACED = 1000  # buffers at once of which gaps are searched; real networks have some tens
