"""A product for several positions.

A workgroup computes a tile of positions and rows. For every group of 32 columns its threads load the activations and
the weights, unpacked, into workgroup memory, and each thread then adds to a small tile of sums in its registers. Loads
take four values at a time; a tile's lines are padded by four so that threads that read different lines use different
banks. A small tile serves up to 31 positions, which would leave most of a large one empty.

For adapters that run on the CPU, where a barrier costs more than the memory traffic that it saves, there is a form
without workgroup memory: a thread computes one row of the weight for a few positions.

Assumes: nothing of T, K and N; it is fastest where K is a multiple of 32.
"""

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from tvm import tirx
from tvm.tirx.script.builder import ir as T  # noqa: N812

from recursivemas.compiler.kernels import script as ks
from recursivemas.compiler.kernels.forms import described
from recursivemas.compiler.kernels.product import Operands, Product, inverse_rms, levels
from recursivemas.system.quantize import GROUP_SIZE, PER_WORD

FEW = 31
"""Most positions that the small tile serves."""
_PADDED = GROUP_SIZE + ks.LANES
_VECTORS = GROUP_SIZE // ks.LANES
_WORDS = GROUP_SIZE // PER_WORD
_SOFTWARE_THREADS = 64
_SOFTWARE_POSITIONS = 4


@dataclass(frozen=True)
class Tile:
    """A workgroup's tile.

    Attributes:
        positions: Its height.
        rows: Its width, in rows of the weight.
        own_positions: Height of a thread's part.
        own_rows: Width of a thread's part.
    """

    positions: int
    rows: int
    own_positions: int
    own_rows: int

    @property
    def across(self) -> int:
        """Threads along the rows."""
        return self.rows // self.own_rows

    @property
    def threads(self) -> int:
        """Threads of the workgroup."""
        return self.positions // self.own_positions * self.across


SMALL = Tile(16, 64, 4, 4)
LARGE = {"float16": Tile(64, 64, 8, 4), "float32": Tile(32, 64, 4, 4)}


@cache
def tile_product(product: Product) -> tirx.PrimFunc:
    """Both kernels and the choice between them: x (1, T, K) or (T, K) to y."""

    def define() -> None:
        positions = ks.size("positions")
        operands = Operands(product, positions)
        with T.If(positions <= FEW):
            with T.Then():
                _Tiles(operands, SMALL).define()
            with T.Else():
                _Tiles(operands, LARGE[product.dtype]).define()

    return described(ks.build(define), "tile_product", **asdict(product))


def software_product(**product: Any) -> tirx.PrimFunc:
    """The form for adapters that run on the CPU."""
    return ks.build(lambda: _define_software(Product(**product)))


class _Tiles:
    """Emits one of the two kernels."""

    def __init__(self, operands: Operands, tile: Tile) -> None:
        self.operands, self.tile, self.product = operands, tile, operands.product
        self.made = tile.rows // 2 if self.product.gate else tile.rows  # results of the tile for a position
        # Loads of activations: so many a thread.
        self.slots = tile.positions * _VECTORS // tile.threads
        assert self.slots * tile.threads == tile.positions * _VECTORS

    def define(self) -> None:
        """Emits it."""
        tile, product = self.tile, self.product
        grid = [-(-product.outputs // self.made), (self.operands.positions + tile.positions - 1) // tile.positions]
        with ks.launch(grid, tile.threads) as (column_block, row_block, thread):
            self.first_t, self.first_n, self.thread = row_block * tile.positions, column_block * self.made, thread
            # Flat, because TVM would cut the padding off. Normalised activations are float32 while they are not
            # divided by their root mean square.
            self.x_dtype = product.dtype if product.eps is None else "float32"
            self.x = ks.shared((tile.positions * _PADDED,), self.x_dtype)
            self.w = ks.shared((tile.rows * _PADDED,), product.dtype)
            self.sums = ks.local(tile.own_positions * tile.own_rows * ks.LANES)
            self.squares = ks.local(self.slots * ks.LANES)
            zeros = ks.spread(ks.f32(0.0))
            for at in ks.each(tile.own_positions * tile.own_rows):
                ks.store(self.sums, zeros, ks.four(at * ks.LANES))
            for slot in ks.each(self.slots):
                ks.store(self.squares, zeros, ks.four(slot * ks.LANES))
            for group in ks.each(product.groups):
                ks.barrier()
                self._load_x(group)
                self._load_weights(group)
                ks.barrier()
                self._add()
            self._finish()

    def _load_x(self, group: tirx.Expr) -> None:
        tile, operands = self.tile, self.operands
        for slot in ks.each(self.slots):
            at = self.thread + slot * tile.threads
            position, column = at // _VECTORS, at % _VECTORS * ks.LANES
            # Beyond the last position the last one again, whose sums are then thrown away.
            t = tirx.min(self.first_t + position, operands.positions - 1)
            x = ks.local(ks.LANES)
            ks.store(x, operands.x_at(t, group * GROUP_SIZE + column), ks.four(0))
            if self.product.eps is not None:
                value, own = ks.vector(x, 0), ks.four(slot * ks.LANES)
                ks.store(self.squares, ks.vector(self.squares, slot * ks.LANES) + value * value, own)
                ks.store(x, value * operands.gain_at(group * GROUP_SIZE + column), ks.four(0))
            ks.store(self.x, _as(ks.vector(x, 0), self.x_dtype), ks.four(position * _PADDED + column))

    def _load_weights(self, group: tirx.Expr) -> None:
        product, operands, tile = self.product, self.operands, self.tile
        pieces = _WORDS if product.packed else _VECTORS
        for start in ks.each(tile.rows * pieces // tile.threads):
            at = self.thread + start * tile.threads
            row, piece = at // pieces, at % pieces
            n = tirx.min(self.first_n + row % self.made, product.outputs - 1)
            if product.gate:
                n = n + tirx.Select(row >= self.made, product.outputs, 0)
            place = row * _PADDED + piece * (GROUP_SIZE // pieces)
            if not product.packed:
                weight = operands.weight_at(n, group * GROUP_SIZE + piece * ks.LANES)
                ks.store(self.w, _as(weight, product.dtype), ks.four(place))
                continue
            word, scale = ks.local(1, "uint32"), ks.local(1)
            ks.store(word, operands.weight[n, group * _WORDS + piece], 0)
            ks.store(scale, ks.wide(operands.scale[n, group]), 0)
            for half in range(2):
                value = levels(word[0], half) * ks.spread(scale[0])
                ks.store(self.w, _as(value, product.dtype), ks.four(place + half * ks.LANES))

    def _add(self) -> None:
        tile = self.tile
        own_position = self.thread // tile.across * tile.own_positions
        for vector in ks.each(_VECTORS):
            weights = ks.local(tile.own_rows * ks.LANES)
            for row in ks.each(tile.own_rows):
                line = self.thread % tile.across + row * tile.across
                ks.store(weights, ks.vector(self.w, line * _PADDED + vector * ks.LANES), ks.four(row * ks.LANES))
            for position in ks.each(tile.own_positions):
                x = ks.local(ks.LANES)
                ks.store(x, ks.vector(self.x, (own_position + position) * _PADDED + vector * ks.LANES), ks.four(0))
                for row in ks.each(tile.own_rows):
                    at = (position * tile.own_rows + row) * ks.LANES
                    total = ks.vector(self.sums, at) + ks.vector(x, 0) * ks.vector(weights, row * ks.LANES)
                    ks.store(self.sums, total, ks.four(at))

    def _finish(self) -> None:
        tile, product, operands = self.tile, self.product, self.operands
        if product.eps is not None:
            ks.barrier()  # TVM may put these where the activations were.
            collected = ks.shared((tile.positions * _VECTORS,), "float32")
            for slot in ks.each(self.slots):
                ks.store(collected, ks.across(self.squares, slot * ks.LANES), self.thread + slot * tile.threads)
            ks.barrier()
        kept = tile.own_rows // 2 if product.gate else tile.own_rows
        for position in ks.each(tile.own_positions):
            line = self.thread // tile.across * tile.own_positions + position
            scale = None
            if product.eps is not None:
                total = ks.local(1)
                ks.store(total, ks.f32(0.0), 0)
                for vector in ks.each(_VECTORS):
                    ks.store(total, total[0] + collected[line * _VECTORS + vector], 0)
                ks.store(total, inverse_rms(product, total[0]), 0)
                scale = total[0]
            for row in ks.each(kept):
                n, t = self.first_n + self.thread % tile.across + row * tile.across, self.first_t + line
                first = position * tile.own_rows + row
                with ks.when(tirx.all(t < operands.positions, n < product.outputs)):
                    parts = [first, first + kept] if product.gate else [first]
                    operands.finish([ks.across(self.sums, each * ks.LANES) for each in parts], t, n, scale)


def _define_software(product: Product) -> None:
    operands = Operands(product, ks.size("positions"))
    positions, few = operands.positions, _SOFTWARE_POSITIONS
    parts = 2 if product.gate else 1
    blocks = (positions + few - 1) // few
    with ks.launch([-(-product.outputs // _SOFTWARE_THREADS), blocks], _SOFTWARE_THREADS) as (column, line, thread):
        n = column * _SOFTWARE_THREADS + thread
        with ks.when(n < product.outputs):
            sums, squares = ks.local(parts * few * ks.LANES), ks.local(few * ks.LANES)
            zeros = ks.spread(ks.f32(0.0))
            for at in ks.each(parts * few):
                ks.store(sums, zeros, ks.four(at * ks.LANES))
            for at in ks.each(few):
                ks.store(squares, zeros, ks.four(at * ks.LANES))
            for word in ks.each(product.groups * _WORDS):
                _add_eight(operands, line * few, n, word, sums, squares)
            for at in ks.each(few):
                t = line * few + at
                scale = inverse_rms(product, ks.across(squares, at * ks.LANES)) if product.eps is not None else None
                with ks.when(t < positions):
                    own = [ks.across(sums, (part * few + at) * ks.LANES) for part in range(parts)]
                    operands.finish(own, t, n, scale)


def _add_eight(
    operands: Operands, first: tirx.Expr, n: tirx.Expr, word: tirx.Expr, sums: tirx.Buffer, squares: tirx.Buffer
) -> None:
    """Adds eight columns to the sums of a thread's positions."""
    product = operands.product
    rows = (n, n + product.outputs) if product.gate else (n,)
    weights = ks.local(len(rows) * PER_WORD)
    for part, row in enumerate(rows):
        for half in range(2):
            if product.packed:
                scale = ks.spread(ks.wide(operands.scale[row, word // _WORDS]))
                value = levels(operands.weight[row, word], half) * scale
            else:
                value = operands.weight_at(row, word * PER_WORD + half * ks.LANES)
            ks.store(weights, value, ks.four(part * PER_WORD + half * ks.LANES))
    for half in range(2):
        column = word * PER_WORD + half * ks.LANES
        gain = ks.local(ks.LANES)
        if product.eps is not None:
            ks.store(gain, operands.gain_at(column), ks.four(0))
        for at in ks.each(_SOFTWARE_POSITIONS):
            x = ks.local(ks.LANES)
            ks.store(x, operands.x_at(tirx.min(first + at, operands.positions - 1), column), ks.four(0))
            if product.eps is not None:
                value, own = ks.vector(x, 0), at * ks.LANES
                ks.store(squares, ks.vector(squares, own) + value * value, ks.four(own))
                ks.store(x, value * ks.vector(gain, 0), ks.four(0))
            for part in range(len(rows)):
                own = (part * _SOFTWARE_POSITIONS + at) * ks.LANES
                weight = ks.vector(weights, part * PER_WORD + half * ks.LANES)
                ks.store(sums, ks.vector(sums, own) + ks.vector(x, 0) * weight, ks.four(own))


def _as(value: tirx.Expr, dtype: str) -> tirx.Expr:
    """Four float32 values in another dtype."""
    return value.astype(f"{dtype}x{ks.LANES}")
