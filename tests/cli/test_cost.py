"""Counts of operations and bytes against counts by hand, and against XLA's where it counts all."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cdjax
from cdjax.benchmark._synthetic import synthetic_video
from cdjax.cli._cost import count, step_cost
from cdjax.trackers._names import config_of

SQUARE = jnp.zeros((8, 8))


def test_products():
    cost = count(jnp.matmul, jnp.zeros((3, 5)), jnp.zeros((5, 7)))
    assert cost.flops == 2 * 3 * 5 * 7
    assert cost.read == (3 * 5 * 4, 5 * 7 * 4)
    assert cost.written == 3 * 7 * 4
    assert count(jnp.matmul, SQUARE.astype(jnp.complex64), SQUARE * 1j).flops == 8 * 8**3


def test_convolution_counts_no_padding_and_no_holes():
    def conv(lhs, rhs, **options):
        return jax.lax.conv_general_dilated(lhs, rhs, padding="SAME", **options)

    image = jnp.zeros((2, 4, 6, 5))
    # Of 3 x 3 windows on 6 x 5 places 2 * 6 - 2 rows' and 2 * 5 - 2 columns' ends fall outside.
    taps = (3 * 6 - 2) * (3 * 5 - 2)
    full = lambda x, w: conv(x, w, window_strides=(1, 1))
    assert count(full, image, jnp.zeros((7, 4, 3, 3))).flops == 2 * 2 * 7 * 4 * taps
    grouped = lambda x, w: conv(x, w, window_strides=(1, 1), feature_group_count=4)
    assert count(grouped, image, jnp.zeros((4, 1, 3, 3))).flops == 2 * 2 * 4 * taps
    strided = lambda x, w: conv(x, w, window_strides=(2, 2))
    # Rows 0, 2, 4 with padding at the end alone; columns 0, 2, 4 with a pixel at both ends.
    taps = (3 + 3 + 2) * (2 + 3 + 2)
    assert count(strided, image, jnp.zeros((7, 4, 3, 3))).flops == 2 * 2 * 7 * 4 * taps
    spread = lambda x, w: jax.lax.conv_general_dilated(
        x, w, (1, 1), [(0, 0), (0, 0)], lhs_dilation=(2, 1)
    )
    # Each of 10 windows of two rows meets one number and one hole.
    assert count(spread, image, jnp.zeros((1, 4, 2, 1))).flops == 2 * 2 * 4 * (10 * 5)


def test_transforms():
    maps = jnp.zeros((3, 8, 16))
    points = 8 * 16
    assert count(jnp.fft.rfft2, maps).flops == 2.5 * 3 * points * math.log2(points)
    assert count(jnp.fft.fft2, maps * 1j).flops == 5 * 3 * points * math.log2(points)
    odd = lambda x: jax.lax.fft(x, jax.lax.FftType.IRFFT, (9,))
    spectrum = jnp.zeros((3, 5), jnp.complex64)
    assert count(odd, spectrum).flops == pytest.approx(2.5 * 3 * 9 * math.log2(9))


def test_loops_count_all_turns():
    def scan(x):
        return jax.lax.scan(lambda carry, _: (carry @ carry, None), x, None, length=7)[0]

    product = 2 * 8**3
    assert count(scan, SQUARE).flops == 7 * product
    loop = lambda n, x: jax.lax.fori_loop(0, n, lambda _, x: x @ x, x)
    assert count(loop, 5, SQUARE).flops == 5 * product
    unknown = count(loop, jnp.int32(5), SQUARE)
    assert unknown.flops == product
    assert any("loops" in words for words in unknown.untold)


def test_conditions_count_the_branch_that_runs():
    def step(index, x):
        return jax.lax.cond(index % 3 == 1, lambda x: x @ x, lambda x: x, x)

    product = 2 * 8**3
    costs = [count(jax.jit(step), index, SQUARE) for index in range(6)]
    assert [cost.flops for cost in costs] == [0, product, 0] * 2
    assert [cost.written for cost in costs] == [0, SQUARE.nbytes, 0] * 2
    assert not costs[0].untold
    unknown = count(step, jnp.int32(1), SQUARE)
    assert unknown.flops == 0
    assert any("branches" in words for words in unknown.untold)


def test_only_what_is_needed_counts():
    def some(x, unused, places):
        _ = jnp.exp(x) @ x.T
        return jnp.take(3 * x, places, axis=0)

    cost = count(some, jnp.zeros((100, 8)), SQUARE, jnp.zeros(5, jnp.int32))
    assert cost.flops == 5 * 8
    assert cost.read[:2] == (5 * 8 * 4, 0)


def test_loops_need_of_a_constant_what_a_turn_needs():
    def each(x, places, rows):
        return jax.lax.map(lambda row: jnp.take(x, places, axis=0) @ row, rows)

    cost = count(each, jnp.zeros((100, 8)), jnp.zeros(5, jnp.int32), jnp.zeros((3, 8)))
    assert cost.read == (5 * 8 * 4, 5 * 4, 3 * 8 * 4)
    assert cost.flops == 3 * 2 * 5 * 8


def test_in_place_is_written_in_part():
    def insert(stored, new, place):
        put = lambda i, x: x.at[place + i].set(new)
        return jax.lax.fori_loop(0, 2, put, stored), new

    cost = count(insert, jnp.zeros((100, 8)), jnp.zeros(8), jnp.int32(0))
    assert cost.written == 2 * 8 * 4


def steady(name, options=""):
    """A tracker after two frames, and the next."""
    tracker = cdjax.make(name + options)
    frames, boxes = synthetic_video(3)
    state = jax.jit(tracker.init)({}, frames[0], boxes[0])
    state, _ = jax.jit(tracker.step)({}, state, frames[1])
    if tracker.compact is not None:
        tracker, state = tracker.compact(state)
    return tracker, config_of(name + options), {}, state, frames[2]


@pytest.mark.parametrize(
    "name", ["CF2-H", "CACF-CD", pytest.param("DeepCD-H", marks=pytest.mark.slow)]
)
def test_within_a_factor_of_xla_without_loops(name):
    tracker, config, params, state, frame = steady(name)
    xla = jax.jit(tracker.step).lower(params, state, frame).compile().cost_analysis()
    cost = step_cost(tracker, config, params, state, frame)
    assert xla is not None
    # XLA also counts whole numbers, choices, and what its fusions compute again.
    assert xla["flops"] / 2.5 < cost.flops <= 1.05 * xla["flops"]
    assert 0 < cost.bytes < xla["bytes accessed"]
    assert not cost.untold
    assert 0 < cost.pixel_bytes < frame.nbytes


@pytest.mark.slow
def test_eco_trains_in_one_of_six_frames():
    tracker, config, params, state, frame = steady("ECO-HC")
    mean = step_cost(tracker, config, params, state, frame)
    start, period = tracker.cycle
    leaves = lambda i: state._replace(frame_index=np.int32(i))
    step = lambda state, frame: tracker.step(params, state, frame)
    costs = [count(step, leaves(start + i), frame).flops for i in range(period)]
    assert sorted(costs)[:-1] == [min(costs)] * (period - 1)
    assert max(costs) > 1.5 * min(costs)
    assert mean.flops == pytest.approx(sum(costs) / period)
    assert mean.state_bytes > sum(leaf.nbytes for leaf in state.memory.samples_f)
