"""Explicit vectors for the compiled pair loops: one 512-bit block of numbers as a value.

A pair loop gathers positions and table entries, which a compiler vectorises only when it can prove that nothing it
stores overlaps what it gathers. Written with these vectors the loop body reads like the scalar one and is a handful
of instructions on any processor: LLVM splits a block into whatever registers there are.

A `Vector` is a numba type, `load`, `gather`, ... make one, and + - * < >= & >> work lane by lane on two of a kind.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

BLOCK_BYTES = 64
LANES = 16
"""Lanes of the narrowest number (32 bits): rows and loops padded to a multiple of it suit every type."""


class Vector(types.Type):
    """A block of `lanes` numbers of one type; `types.boolean` makes a mask."""

    def __init__(self, element: types.Type, lanes: int) -> None:
        self.element = element
        self.lanes = lanes
        super().__init__(name=f"Vector({element}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        boolean = vector.element == types.boolean
        element = ir.IntType(1) if boolean else manager.lookup(vector.element).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, vector.lanes))


def _lanes(number: Any) -> int:
    return int(BLOCK_BYTES * 8 // number.bitwidth)


def _pointer(context: Any, builder: Any, array_type: types.Array, array: Any, index: Any) -> Any:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def _llvm_name(vector: Any) -> str:
    element = vector.element
    letter = {ir.DoubleType: "f64", ir.FloatType: "f32"}.get(type(element)) or f"i{element.width}"
    return f"v{vector.count}{letter}"


def _call(builder: Any, name: str, result: Any, arguments: list[Any], **flags: Any) -> Any:
    signature = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments, **flags)


def _constant(vector: Any, values: list[Any]) -> Any:
    return ir.Constant(vector, [ir.Constant(vector.element, v) for v in values])


@intrinsic
def splat(_context: Any, number: Any) -> Any:
    """A vector with the same number in every lane; a 32-bit integer fills 16 lanes."""
    result = Vector(number, _lanes(number))

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _splat(builder, arguments[0], result.lanes)

    return result(number), generate


def _splat(builder: Any, value: Any, lanes: int) -> Any:
    kind = ir.VectorType(value.type, lanes)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), _zeros(lanes))


def _zeros(lanes: int) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), lanes), [ir.Constant(ir.IntType(32), 0)] * lanes)


@intrinsic
def splat_index(_context: Any, number: Any, like: Any) -> Any:
    """A vector of 32-bit integers with the same number in each of the lanes of `like`."""
    result = Vector(types.int32, like.lanes)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = context.cast(builder, arguments[0], signature.args[0], types.int32)
        return _splat(builder, value, result.lanes)

    return result(number, like), generate


@intrinsic
def count_up(_context: Any, like: Any) -> Any:
    """The integers 0, 1, 2, ... in the lanes of `like`."""
    result = Vector(types.int32, like.lanes)

    def generate(context: Any, _builder: Any, _signature: Any, _arguments: Any) -> Any:
        return _constant(context.get_value_type(result), list(range(result.lanes)))

    return result(like), generate


@intrinsic
def load(_context: Any, array: Any, index: Any) -> Any:
    """Consecutive numbers array[index], array[index + 1], ... of a contiguous floating-point array."""
    return _load(array, index, Vector(array.dtype, _lanes(array.dtype)), (array, index))


@intrinsic
def load_index(_context: Any, array: Any, index: Any, like: Any) -> Any:
    """Consecutive 32-bit integers, as many as `like` has lanes."""
    return _load(array, index, Vector(types.int32, like.lanes), (array, index, like))


def _load(array: Any, _index: Any, result: Vector, given: tuple[Any, ...]) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        value = builder.load(builder.bitcast(pointer, context.get_value_type(result).as_pointer()))
        value.align = array.dtype.bitwidth // 8
        return value

    return result(*given), generate


@intrinsic
def store(_context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write a vector to array[index], array[index + 1], ..."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        written = builder.store(arguments[2], builder.bitcast(pointer, arguments[2].type.as_pointer()))
        written.align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.none(array, index, vector), generate


@intrinsic
def gather(_context: Any, array: Any, index: Any) -> Any:
    """array[index[lane]] in every lane; the indices are not negative."""
    result = Vector(array.dtype, index.lanes)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        kind = context.get_value_type(result)
        wide = builder.sext(arguments[1], ir.VectorType(ir.IntType(64), result.lanes))
        pointers = builder.gep(_splat(builder, base, result.lanes), [wide], source_etype=kind.element)
        pointers.type = ir.VectorType(base.type, result.lanes)
        mask = ir.Constant(ir.VectorType(ir.IntType(1), result.lanes), [ir.Constant(ir.IntType(1), 1)] * result.lanes)
        alignment = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
        name = f"llvm.masked.gather.{_llvm_name(kind)}.v{result.lanes}p0"
        return _call(builder, name, kind, [pointers, alignment, mask, ir.Constant(kind, ir.Undefined)])

    return result(array, index), generate


@intrinsic
def compress(_context: Any, array: Any, index: Any, vector: Any, mask: Any) -> Any:
    """Write the lanes that the mask selects to array[index], ... side by side; returns how many there were.

    A whole block is written, what follows the selected lanes is arbitrary: the array needs room for it.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        kind = arguments[2].type
        name = f"llvm.experimental.vector.compress.{_llvm_name(kind)}"
        packed = _call(builder, name, kind, [arguments[2], arguments[3], ir.Constant(kind, ir.Undefined)])
        written = builder.store(packed, builder.bitcast(pointer, kind.as_pointer()))
        written.align = array.dtype.bitwidth // 8
        integer = ir.IntType(vector.lanes)
        bits = builder.bitcast(arguments[3], integer)
        return builder.zext(_call(builder, f"llvm.ctpop.i{vector.lanes}", integer, [bits]), ir.IntType(64))

    return types.int64(array, index, vector, mask), generate


@intrinsic
def add_powers(_context: Any, array: Any, index: Any, factor: Any, t: Any) -> Any:
    """array[index : index + 4] += factor (1, t, t², 0), on a float64 array."""
    kind = ir.VectorType(ir.DoubleType(), 4)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        pointer = builder.bitcast(place, kind.as_pointer())
        push, step = (
            _splat(builder, context.cast(builder, value, given, types.float64), 4)
            for value, given in zip(arguments[2:], signature.args[2:], strict=True)
        )
        powers = _constant(kind, [0.0, 0.0, 1.0, 0.0])
        for unit in ([0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]):
            powers = builder.fadd(
                builder.fmul(powers, step, flags=("contract",)), _constant(kind, unit), flags=("contract",)
            )
        sum_before = builder.load(pointer)
        sum_before.align = 8
        contribution = builder.fmul(push, powers, flags=("contract",))
        written = builder.store(builder.fadd(sum_before, contribution, flags=("contract",)), pointer)
        written.align = 8
        return context.get_dummy_value()

    return types.none(array, index, factor, t), generate


@intrinsic
def truncate(_context: Any, vector: Any) -> Any:
    """Towards zero, to 32-bit integers."""
    result = Vector(types.int32, vector.lanes)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fptosi(arguments[0], context.get_value_type(result))

    return result(vector), generate


@intrinsic
def as_float(_context: Any, vector: Any, like: Any) -> Any:
    """Integers as the floating-point type of `like`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.sitofp(arguments[0], context.get_value_type(signature.return_type))

    return like(vector, like), generate


@intrinsic
def total(_context: Any, vector: Any) -> Any:
    """Sum of the lanes."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = arguments[0].type
        zero = ir.Constant(kind.element, 0.0)
        name = f"llvm.vector.reduce.fadd.{_llvm_name(kind)}"
        return _call(builder, name, kind.element, [zero, arguments[0]], fastmath=("reassoc",))

    return vector.element(vector), generate


@intrinsic
def select(_context: Any, mask: Any, yes: Any, no: Any) -> Any:
    """`yes` where the mask holds, `no` elsewhere."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.select(*arguments)

    return yes(mask, yes, no), generate


@intrinsic
def narrow(_context: Any, vector: Any) -> Any:
    """In single precision, the same number of lanes."""
    result = Vector(types.float32, vector.lanes)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        if vector == result:
            return arguments[0]
        return builder.fptrunc(arguments[0], context.get_value_type(result))

    return result(vector), generate


def _operator(floats: str, integers: str) -> Any:
    @intrinsic
    def apply(_context: Any, left: Any, right: Any) -> Any:
        real = isinstance(left.element, types.Float)

        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            if real:
                return getattr(builder, floats)(*arguments, flags=("contract",))
            return getattr(builder, integers)(*arguments)

        return left(left, right), generate

    return apply


def _comparison(symbol: str) -> Any:
    @intrinsic
    def apply(_context: Any, left: Any, right: Any) -> Any:
        real = isinstance(left.element, types.Float)

        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            compare = builder.fcmp_ordered if real else builder.icmp_signed
            return compare(symbol, *arguments)

        return Vector(types.boolean, left.lanes)(left, right), generate

    return apply


def _register(function: Any, apply: Any) -> None:
    @overload(function)
    def _overload(left, right):  # type: ignore[no-untyped-def]  # numba compares signatures, annotations included
        if isinstance(left, Vector) and left == right:
            return lambda left, right: apply(left, right)
        return None


_register(operator.add, _operator("fadd", "add"))
_register(operator.sub, _operator("fsub", "sub"))
_register(operator.mul, _operator("fmul", "mul"))
_register(operator.and_, _operator("", "and_"))
_register(operator.rshift, _operator("", "ashr"))
_register(operator.lt, _comparison("<"))
_register(operator.gt, _comparison(">"))


def padded(n: int) -> int:
    """n rounded up to whole blocks of any type."""
    return -(-n // LANES) * LANES


def lanes_of(dtype: Any) -> int:
    """How many numbers of a type make one block."""
    return BLOCK_BYTES // np.dtype(dtype).itemsize
