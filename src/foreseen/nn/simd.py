"""Vectors of sixteen floats inside Numba kernels.

Numba leaves it to LLVM to find loops that can be done sixteen numbers at a time. Kernels whose inner loops are short,
begin anywhere and sum into many registers are not found; these say it themselves. LLVM cuts a vector down to what the
processor has: one register of AVX-512, two of AVX2, four of NEON or SSE.

A vector is made by `splat`, `lanes` or `load` and lives in registers. `+ - * /` and unary minus work between vectors;
comparisons give masks for `where`. All functions are for compiled code only. Nothing is checked: `load` and `store`
touch sixteen consecutive floats of a contiguous float32 array, counted from `at` in its flat order.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

WIDTH = 16
_FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
_BITS = ir.VectorType(ir.IntType(1), WIDTH)


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name="float32x16")


class _Mask(types.Type):
    def __init__(self) -> None:
        super().__init__(name="bool16")


VECTOR, MASK = _Vector(), _Mask()


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _FLOATS)


@register_model(_Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _BITS)


def _constant(values):
    return ir.Constant(_FLOATS, [ir.Constant(ir.FloatType(), float(v)) for v in values])


def _call(builder, name, result, arguments):
    kind = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _pointer(context, builder, array_type, array, at):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _FLOATS.as_pointer())


@intrinsic
def splat(typingctx, value):
    """A number sixteen times."""

    def make(context, builder, signature, arguments):
        number = context.cast(builder, arguments[0], signature.args[0], types.float32)
        first = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), number, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
        return builder.shuffle_vector(first, ir.Constant(_FLOATS, ir.Undefined), zeros)

    return VECTOR(value), make


@intrinsic
def lanes(typingctx):
    """0, 1, ... 15."""
    return VECTOR(), lambda context, builder, signature, arguments: _constant(range(WIDTH))


@intrinsic
def load(typingctx, array, at):
    """The sixteen floats of `array` that begin at `at`."""

    def make(context, builder, signature, arguments):
        at = context.cast(builder, arguments[1], signature.args[1], types.intp)
        return builder.load(_pointer(context, builder, signature.args[0], arguments[0], at), align=4)

    return VECTOR(array, at), make


@intrinsic
def store(typingctx, array, at, value):
    """Writes a vector to the sixteen floats of `array` that begin at `at`."""

    def make(context, builder, signature, arguments):
        at = context.cast(builder, arguments[1], signature.args[1], types.intp)
        builder.store(arguments[2], _pointer(context, builder, signature.args[0], arguments[0], at), align=4)
        return context.get_dummy_value()

    return types.void(array, at, value), make


@intrinsic
def fma(typingctx, a, b, c):
    """a b + c, in one step where the processor has one."""
    return VECTOR(a, b, c), lambda context, builder, signature, arguments: _call(
        builder, "llvm.fmuladd.v16f32", _FLOATS, arguments
    )


@intrinsic
def minimum(typingctx, a, b):
    """The smaller of two, lane by lane."""
    return VECTOR(a, b), lambda context, builder, signature, arguments: builder.select(
        builder.fcmp_ordered("<", *arguments), *arguments
    )


@intrinsic
def maximum(typingctx, a, b):
    """The larger of two, lane by lane."""
    return VECTOR(a, b), lambda context, builder, signature, arguments: builder.select(
        builder.fcmp_ordered(">", *arguments), *arguments
    )


@intrinsic
def where(typingctx, mask, a, b):
    """`a` where the mask is set, `b` elsewhere."""
    return VECTOR(mask, a, b), lambda context, builder, signature, arguments: builder.select(*arguments)


@intrinsic
def root(typingctx, a):
    """Square root."""
    return VECTOR(a), lambda context, builder, signature, arguments: _call(
        builder, "llvm.sqrt.v16f32", _FLOATS, arguments
    )


@intrinsic
def total(typingctx, a):
    """Sum of the lanes, pairwise."""

    def make(context, builder, signature, arguments):
        rest, width = arguments[0], WIDTH
        while width > 1:
            width //= 2
            low, high = (
                builder.shuffle_vector(
                    rest, ir.Constant(rest.type, ir.Undefined),
                    ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(start, start + width))),
                )
                for start in (0, width)
            )  # fmt: skip
            rest = builder.fadd(low, high)
        return builder.extract_element(rest, ir.IntType(32)(0))

    return types.float32(a), make


def _operator(function, kind, build):
    """Gives vectors the operator `function`; `build(builder, a, b)` makes its instruction."""

    @intrinsic
    def operate(typingctx, a, b):
        return kind(a, b), lambda context, builder, signature, arguments: build(builder, *arguments)

    @overload(function, inline="always")
    def choose(a, b):
        return (lambda a, b: operate(a, b)) if isinstance(a, _Vector) and isinstance(b, _Vector) else None


_operator(operator.add, VECTOR, lambda builder, a, b: builder.fadd(a, b))
_operator(operator.sub, VECTOR, lambda builder, a, b: builder.fsub(a, b))
_operator(operator.mul, VECTOR, lambda builder, a, b: builder.fmul(a, b))
_operator(operator.truediv, VECTOR, lambda builder, a, b: builder.fdiv(a, b))
_operator(operator.gt, MASK, lambda builder, a, b: builder.fcmp_ordered(">", a, b))
_operator(operator.ge, MASK, lambda builder, a, b: builder.fcmp_ordered(">=", a, b))
_operator(operator.le, MASK, lambda builder, a, b: builder.fcmp_ordered("<=", a, b))


@intrinsic
def _negated(typingctx, a):
    return VECTOR(a), lambda context, builder, signature, arguments: builder.fneg(arguments[0])


@overload(operator.neg, inline="always")
def _negative(a):
    return (lambda a: _negated(a)) if isinstance(a, _Vector) else None
