"""What a program costs at least: operations and bytes, counted on its jaxpr.

XLA's own analysis counts one turn of a loop and the dearest branch. Here a loop counts as often as
it turns and a condition as the branch that runs, if the arguments tell.
"""

import collections
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from cdjax.trackers._base import Tracker

# Rearrange what is there: no operations, and a part of the result takes as much of the operand.
_MOVES = frozenset(
    "bitcast_convert_type broadcast_in_dim complex concatenate conj convert_element_type copy "
    "dynamic_slice dynamic_update_slice expand_dims gather imag iota pad real reshape rev scatter "
    "select_n slice split squeeze stack stop_gradient transpose".split()
)
_VIEWS = frozenset(("copy", "expand_dims", "reshape", "squeeze"))
_WRITES = frozenset(("scatter", "scatter-add", "dynamic_update_slice"))
# Real operations of a complex one; others count 2.
_COMPLEX = {"mul": 6, "div": 11, "integer_pow": 6, "square": 6}


class Cost(NamedTuple):
    """Operations and bytes of one call.

    Attributes:
      flops: floating-point operations; a multiplication with its addition counts two.
      read: bytes needed of each argument, flattened: none of one that is not used, of one that is
        only cut or gathered from as much as is taken.
      written: bytes of the results that are no argument's, or no untouched part of one's.
      untold: what had to be guessed, low: loops counted once, branches counted as the cheapest.
    """

    flops: float
    read: tuple[float, ...]
    written: float
    untold: frozenset[str]


class StepCost(NamedTuple):
    """What a step costs at least, a mean over the frames that it treats differently.

    Attributes:
      flops: floating-point operations.
      params_bytes: weights read, which lanes of a batch share.
      state_bytes: state read, and what changes of it written.
      pixel_bytes: pixels of the search region, those outside the frame left out.
      untold: see `Cost`.
    """

    flops: float
    params_bytes: float
    state_bytes: float
    pixel_bytes: float
    untold: frozenset[str]

    @property
    def bytes(self) -> float:
        """All that moves."""
        return self.params_bytes + self.state_bytes + self.pixel_bytes


def step_cost(tracker: Tracker, config: Any, params: Any, state: Any, frame: Any) -> StepCost:
    """Counts a step in the steady state: the mean over a period of `Tracker.cycle`.

    A lower bound: every byte moves once, as in an unbounded cache, and what a step keeps of its
    state is not copied. A pixel that several patches sample is one pixel. Reality reads samples
    again in every turn of a loop, and writes the maps between two operations.

    Args:
      tracker: the tracker.
      config: its config, see `config_of`.
      params: weights, or their shapes.
      state: a state after distillation, with its numbers.
      frame: a frame, or its shape.

    Returns:
      The cost.
    """
    abstract = jax.tree.map(_shape_of, (params, state, frame))
    closed = jax.make_jaxpr(tracker.step)(*abstract)
    leaves = jax.tree.leaves((params, state._replace(frame_index=_Known()), frame))
    start, period = tracker.cycle
    costs = [
        _cost(closed, [np.int32(index) if isinstance(leaf, _Known) else None for leaf in leaves])
        for index in range(start, start + period)
    ]
    first = len(jax.tree.leaves(params))
    mean = lambda numbers: sum(numbers) / period
    return StepCost(
        mean(c.flops for c in costs),
        mean(sum(c.read[:first]) for c in costs),
        mean(sum(c.read[first:-1]) + c.written for c in costs),
        _searched_px(config, state, frame.shape[:2]) * math.prod(frame.shape[2:]),
        frozenset().union(*(c.untold for c in costs)),
    )


def matrix_product() -> Callable[[], Any]:
    """A product of two square matrices, compiled: what machines do best."""
    square = jnp.ones((_product_side(), _product_side()), jnp.float32)
    compiled = jax.jit(jnp.matmul).lower(square, square).compile()
    return lambda: compiled(square, square)


def measured_peaks(product_s: Sequence[float] = ()) -> dict[str, float]:
    """What a large matrix product and a copy reach on this machine, the best of several.

    Args:
      product_s: seconds that calls of `matrix_product` took between steps of trackers, if any.

    Returns:
      Operations and bytes a second, in units of 1e9; of the operations also the median, of
      `product_s` if told.
    """
    calm_s = _times(matrix_product(), 20)
    # 256 MiB, beyond any cache; fast memories need more, else the launch counts.
    large = jnp.ones(2**26 if _on_cpu() else 2**28, jnp.float32)
    copied = jax.jit(lambda x: x + 1).lower(large).compile()
    gflop = 2 * _product_side() ** 3 / 1e9
    return {
        "gflops": gflop / min(*product_s, *calm_s),
        "median_gflops": gflop / statistics.median(product_s or calm_s),
        "gbytes_s": 2 * large.nbytes / min(_times(lambda: copied(large), 10)) / 1e9,
    }


def _times(function: Callable[[], Any], count: int) -> list[float]:
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return seconds


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _product_side() -> int:
    """Enough to keep the machine busy."""
    return 1024 if _on_cpu() else 8192


class _Known:
    """Marks the argument whose value is known."""


def _shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype)


def _searched_px(config: Any, state: Any, frame_hw: Sequence[int]) -> float:
    """Pixels of the search region inside the frame, or as many as patches have samples."""
    box = np.asarray(state.box)
    samples = (config.patch_px * getattr(config, "supersample", 1)) ** 2
    if hasattr(state, "trans"):
        # MDNet's candidates are many patches; its background samples lie farthest.
        sides = 1.3 * box[2:] + 4 * box[2:].mean()
        samples *= config.num_patches
    else:
        wh = np.asarray(state.first_wh) * float(state.scale)
        if hasattr(state, "region_ratio"):
            sides = wh * np.asarray(state.region_ratio)[::-1]
        else:
            side = config.region_side(np.asarray(state.first_wh)) * state.scale
            sides = np.full(2, float(side))
    centre = box[:2] + box[2:] / 2
    low, high = np.maximum(centre - sides / 2, 0), centre + sides / 2
    inside = np.maximum(np.minimum(high, frame_hw[::-1]) - low, 0)
    return float(min(inside.prod(), samples))


def count(function: Callable[..., Any], *args: Any) -> Cost:
    """Counts a function's operations and the least bytes that it moves.

    Args:
      function: any that JAX traces.
      *args: its arguments; of Python's and NumPy's whole numbers the value counts, of all others
        only the shape.

    Returns:
      The cost.
    """
    leaves, tree = jax.tree.flatten(args)
    known = [leaf if isinstance(leaf, int | np.integer) else None for leaf in leaves]
    abstract = [_shape_of(np.int32(x) if isinstance(x, int) else x) for x in leaves]
    return _cost(jax.make_jaxpr(function)(*jax.tree.unflatten(tree, abstract)), known)


def _cost(closed: core.ClosedJaxpr, known: Sequence[Any]) -> Cost:
    jaxpr = closed.jaxpr
    untold: set[str] = set()
    sizes = [_size(v) for v in jaxpr.outvars]
    flops, asked = _walk(jaxpr, known, sizes, untold)
    read = tuple(n * _itemsize(v) for n, v in zip(asked, jaxpr.invars, strict=True))
    written = 0.0
    for out, (place, fresh) in zip(jaxpr.outvars, _origins(jaxpr, known), strict=True):
        written += _size(out) * _itemsize(out) if place is None else fresh
    return Cost(flops, read, written, frozenset(untold))


def _shape(atom: Any) -> tuple[int, ...]:
    return atom.aval.shape


def _size(atom: Any) -> float:
    return float(math.prod(_shape(atom)))


def _itemsize(atom: Any) -> int:
    return np.dtype(atom.aval.dtype).itemsize


def _is(atom: Any, kind: type) -> bool:
    """Whether the numbers are of a NumPy kind; keys are of none."""
    dtype = atom.aval.dtype
    return isinstance(dtype, np.dtype) and np.issubdtype(dtype, kind)


def _body(eqn: core.JaxprEqn, values: Sequence[Any]) -> tuple[core.Jaxpr, int] | None:
    """What a call or a condition runs, and where its arguments begin; None for all else."""
    if eqn.primitive.name == "cond":
        return None if values[0] is None else (eqn.params["branches"][int(values[0])].jaxpr, 1)
    if eqn.primitive.name in ("scan", "while"):
        return None
    inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    return None if inner is None else (getattr(inner, "jaxpr", inner), 0)


class _Values(dict):
    """Known numbers, by variable."""

    def of(self, atoms: Sequence[Any]) -> list[Any]:
        """The numbers, None where unknown."""
        literal = lambda atom: atom.val if np.ndim(atom.val) == 0 else None
        return [literal(a) if isinstance(a, core.Literal) else self.get(a) for a in atoms]


def _values(jaxpr: core.Jaxpr, known: Sequence[Any]) -> _Values:
    """Works out the whole numbers and truth values that follow from the known ones."""
    values = _Values(zip(jaxpr.invars, known, strict=True))
    for eqn in jaxpr.eqns:
        inputs = values.of(eqn.invars)
        if eqn.primitive.name == "platform_index":
            here = jax.default_backend()
            fits = [names is None or here in names for names in eqn.params["platforms"]]
            outputs = [fits.index(True)]
        elif body := _body(eqn, inputs):
            inner, first = body
            outputs = _values(inner, inputs[first:]).of(inner.outvars)
        elif any(value is None for value in inputs) or not all(
            _shape(v) == () and not _is(v, np.inexact) for v in eqn.outvars
        ):
            continue
        elif eqn.primitive.name in ("cond", "scan", "while"):
            continue
        else:
            result = eqn.primitive.bind(*inputs, **eqn.params)
            outputs = result if eqn.primitive.multiple_results else [result]
        values.update(zip(eqn.outvars, outputs, strict=True))
    return values


def _walk(
    jaxpr: core.Jaxpr, known: Sequence[Any], wanted: Sequence[float], untold: set[str]
) -> tuple[float, list[float]]:
    """Operations, and elements needed of each argument, for so many elements of each result.

    From the results backwards: what nothing needs costs nothing, and of maps that are gathered
    from only what is taken is computed, as XLA's fused programs do.
    """
    values = _values(jaxpr, known)
    needs: dict[Any, float] = collections.defaultdict(float)

    def ask(atoms: Sequence[Any], numbers: Sequence[float]) -> None:
        for atom, number in zip(atoms, numbers, strict=True):
            if not isinstance(atom, core.Literal):
                needs[atom] = min(needs[atom] + number, _size(atom))

    ask(jaxpr.outvars, wanted)
    flops = 0.0
    for eqn in reversed(jaxpr.eqns):
        wanted = [needs[v] for v in eqn.outvars]
        if not any(wanted):
            continue
        inputs = values.of(eqn.invars)
        if body := _body(eqn, inputs):
            inner, first = body
            more, asked = _walk(inner, inputs[first:], wanted, untold)
            ask(eqn.invars[first:], asked)
        elif eqn.primitive.name == "cond":
            untold.add("branches that the data choose, as the cheapest")
            tried = [
                _walk(branch.jaxpr, inputs[1:], wanted, untold) for branch in eqn.params["branches"]
            ]
            more, asked = min(tried, key=lambda pair: pair[0])
            ask(eqn.invars, [1.0, *asked])
        elif eqn.primitive.name in ("scan", "while"):
            turns = _turns(eqn, inputs)
            if turns is None:
                untold.add("loops that end by the data, as one turn")
            more, asked = _loop(eqn, 1 if turns is None else turns, untold)
            ask(eqn.invars, asked)
        else:
            more = _operations(eqn, max(wanted))
            ask(eqn.invars, _needed(eqn, max(wanted)))
        flops += more
    return flops, [needs[v] for v in jaxpr.invars]


def _turns(eqn: core.JaxprEqn, inputs: Sequence[Any]) -> int | None:
    """How often a loop turns; None where that follows from no known number."""
    if eqn.primitive.name == "scan":
        return eqn.params["length"]
    test, body = eqn.params["cond_jaxpr"].jaxpr, eqn.params["body_jaxpr"].jaxpr
    first, second = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    test_consts, body_consts = list(inputs[:first]), list(inputs[first : first + second])
    carry, turns = list(inputs[first + second :]), 0
    while True:
        go = _values(test, test_consts + carry).of(test.outvars)[0]
        if go is None:
            return None
        if not go:
            return turns
        carry = _values(body, body_consts + carry).of(body.outvars)
        turns += 1


def _unstacked(eqn: core.JaxprEqn) -> tuple[int, int]:
    """Numbers of arguments and results of a scan that are no stacks: constants and carry, carry."""
    inner = eqn.params["jaxpr"].jaxpr
    alike = lambda outer, inner: sum(map(lambda a, b: _shape(a) == _shape(b), outer, inner))
    return alike(eqn.invars, inner.invars), alike(eqn.outvars, inner.outvars)


def _loop(eqn: core.JaxprEqn, turns: int, untold: set[str]) -> tuple[float, list[float]]:
    """Operations of all turns of a loop, and elements needed of each argument."""
    flops, asked = 0.0, [_size(atom) for atom in eqn.invars]
    for name in ("jaxpr", "cond_jaxpr", "body_jaxpr"):
        if name in eqn.params:
            inner = eqn.params[name].jaxpr
            sizes = [_size(v) for v in inner.outvars]
            more, needed = _walk(inner, [None] * len(inner.invars), sizes, untold)
            flops += turns * more
            if name == "jaxpr":
                # Of constants every turn needs the same, at least as much as one.
                num_inputs, num_carry = _unstacked(eqn)
                asked[: num_inputs - num_carry] = needed[: num_inputs - num_carry]
    return flops, asked


def _needed(eqn: core.JaxprEqn, wanted: float) -> list[float]:
    """Elements needed of each operand, for so many elements of the result."""
    name, sizes = eqn.primitive.name, [_size(atom) for atom in eqn.invars]
    share = wanted / max(_size(eqn.outvars[0]), 1)
    if name in ("gather", *_WRITES):
        return [wanted, *sizes[1:]]
    if name == "concatenate" or name.startswith("reduce_"):
        return [size * share for size in sizes]
    if name in ("dot_general", "conv_general_dilated", "fft", "sort") or name.startswith("cum"):
        return sizes
    if name in ("argmax", "argmin"):
        return sizes
    return [wanted] * len(sizes)


def _operations(eqn: core.JaxprEqn, wanted: float) -> float:
    """Floating-point operations of one equation."""
    name, params = eqn.primitive.name, eqn.params
    if name in _MOVES or not any(_is(atom, np.inexact) for atom in eqn.invars):
        return 0.0
    operand, out = eqn.invars[0], eqn.outvars[0]
    is_complex = _is(operand, np.complexfloating)
    share = wanted / max(_size(out), 1)
    if name == "dot_general":
        ((contracted, _), _) = params["dimension_numbers"]
        depth = math.prod(_shape(operand)[axis] for axis in contracted)
        return (8 if is_complex else 2) * _size(out) * depth
    if name == "conv_general_dilated":
        return (8.0 if is_complex else 2.0) * _convolution(eqn)
    if name == "fft":
        points = math.prod(params["fft_lengths"])
        real = "RFFT" in params["fft_type"].name
        # All numbers are there at the end that is real, or at either.
        whole = operand if _is(operand, np.floating) else out
        return (2.5 if real else 5) * _size(whole) * math.log2(max(points, 2))
    if name == "sort":
        return _size(operand) * math.log2(max(_shape(operand)[params["dimension"]], 2))
    if name.startswith("reduce_window"):
        return wanted * math.prod(params["window_dimensions"])
    if name.startswith("reduce_") or name in ("argmax", "argmin"):
        return (2 if is_complex else 1) * _size(operand) * share
    if name == "scatter-add":
        return (2 if is_complex else 1) * _size(eqn.invars[2])
    return (_COMPLEX.get(name, 2) if is_complex else 1) * wanted


def _convolution(eqn: core.JaxprEqn) -> int:
    """Products of a convolution whose window meets a number rather than padding or a hole."""
    params, (lhs, rhs), (out,) = eqn.params, eqn.invars, eqn.outvars
    places = params["dimension_numbers"]
    products = _shape(out)[places.out_spec[0]]
    products *= math.prod(_shape(rhs)[axis] for axis in places.rhs_spec[:2])
    for i, (low, _) in enumerate(params["padding"]):
        length = _shape(lhs)[places.lhs_spec[2 + i]]
        starts = np.arange(_shape(out)[places.out_spec[2 + i]]) * params["window_strides"][i]
        window = np.arange(_shape(rhs)[places.rhs_spec[2 + i]]) * params["rhs_dilation"][i]
        met, hole = starts[:, None] - low + window[None], params["lhs_dilation"][i]
        products *= int(((met >= 0) & (met <= (length - 1) * hole) & (met % hole == 0)).sum())
    return products


def _origins(jaxpr: core.Jaxpr, known: Sequence[Any]) -> list[tuple[int | None, float]]:
    """For each result the argument that it is, but for some bytes written; None where it is new."""
    values = _values(jaxpr, known)
    makers = {v: eqn for eqn in jaxpr.eqns for v in eqn.outvars}
    return [_origin(jaxpr, values, makers, atom) for atom in jaxpr.outvars]


def _origin(
    jaxpr: core.Jaxpr, values: _Values, makers: dict[Any, core.JaxprEqn], atom: Any
) -> tuple[int | None, float]:
    """The same for one result."""
    fresh = 0.0
    while not isinstance(atom, core.Literal) and atom in makers:
        eqn = makers[atom]
        index, inputs = eqn.outvars.index(atom), values.of(eqn.invars)
        place, more = None, 0.0
        if body := _body(eqn, inputs):
            inner, first = body
            place, more = _origins(inner, inputs[first:])[index]
            place = None if place is None else place + first
        elif eqn.primitive.name == "scan" and index < (num_carry := _unstacked(eqn)[1]):
            inner = eqn.params["jaxpr"].jaxpr
            place, more = _origins(inner, [None] * len(inner.invars))[index]
            # In place only where the carry stays the same one.
            place = place if place == _unstacked(eqn)[0] - num_carry + index else None
            more *= eqn.params["length"]
        elif eqn.primitive.name in _WRITES:
            changed = eqn.invars[1 if eqn.primitive.name == "dynamic_update_slice" else 2]
            place, more = 0, _size(changed) * _itemsize(changed)
        elif eqn.primitive.name in _VIEWS:
            place = 0
        if place is None:
            return None, 0.0
        atom, fresh = eqn.invars[place], fresh + more
    arguments = list(jaxpr.invars)
    if isinstance(atom, core.Literal) or atom not in arguments:
        return None, 0.0
    return arguments.index(atom), fresh
