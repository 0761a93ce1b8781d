"""Trackers whose numbers are arrays, lane by lane."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tracker_cases import (
    ECO_HC,
    ECO_HC_CD,
    HW,
    MDNET,
    MDNET_CD,
    at,
    gap,
    params_of,
    programs,
    video,
)

import cdjax
from cdjax.trackers._names import config_of

# Each option changes what the tracker does: an array that is not looked at would show.
CASES = {
    "DeepCD-H:num_channels=12": {
        "learning_rate": 0.2,
        "reg": 1e-2,
        "scale_step": 1.06,
        "scale_penalty": 0.9,
        "scale_rate": 0.6,
        "sigma": 0.12,
        "strength_exponent": 0.2,
    },
    "CACF-CD": {
        "learning_rate": 0.1,
        "reg": 1e-1,
        "context_reg": 4.0,
        "joint_reg": 1e-2,
        "stability_exponent": 0.3,
    },
    ECO_HC: {
        "learning_rate": 0.05,
        "scale_rate": 0.2,
        "forgetting": 10.0,
        "reg_edge": 3e-2,
        "data_weight": 0.5,
        "sigma": 0.08,
    },
}


def lanes_of(name, values):
    """The name's own numbers, then the given ones, as arrays."""
    return {
        field: jnp.array([getattr(config_of(name), field), value], jnp.float32)
        for field, value in values.items()
    }


@pytest.mark.parametrize(
    "name",
    [name if "DeepCD" in name else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
)
def test_a_lane_equals_the_tracker_made_with_its_values(name):
    # From the single runs' states, so that rounding cannot pile up.
    values = CASES[name]
    lanes, params = lanes_of(name, values), params_of(name)
    single = [programs(name), programs(name, **values)]
    frames, boxes = video(1)
    frame, box, hw = jnp.asarray(frames[0]), jnp.asarray(boxes[0]), jnp.array(HW, jnp.int32)
    init = jax.jit(jax.vmap(lambda v: cdjax.vary(name, v).init(params, frame, box, frame_hw=hw)))
    step = jax.jit(
        jax.vmap(
            lambda v, state, frame: cdjax.vary(name, v).step(params, state, frame),
            in_axes=(0, 0, None),
        )
    )
    states = [each.start(frames[0], boxes[0]) for each in single]
    found = init(lanes)
    for i in range(2):
        assert gap(at(found, i), jax.tree.map(np.asarray, states[i])) < 1e-4
    for frame in frames[1:4]:
        found = step(lanes, jax.tree.map(lambda *x: jnp.stack(x), *states), frame)
        alone = [each.step(params, s, frame) for each, s in zip(single, states, strict=True)]
        for i in range(2):
            (state, output), (expected, seen) = at(found, i), jax.tree.map(np.asarray, alone[i])
            assert gap(output, seen) < 1e-4
            # The last bit of a box may move a pixel's vote between HOG's bins.
            assert gap(state, expected) < 2e-3
        states = [state for state, _ in alone]
    assert gap(*states) > 1e-2


# Names under which many fields have something to do, and the fields of which there is none.
DEAD = {
    "DeepCD-H:num_channels=none": [],
    "CACF-CD:num_scales=3,num_channels=none": [],
    "CACF:form=joint": [
        "context_reg",
        "prefix_slack",
        "reg",
        "stability_exponent",
        "strength_exponent",
    ],
    ECO_HC_CD: ["prefix_slack"],
    MDNET: ["stability_exponent", "strength_exponent"],
    MDNET_CD: [],
    f"{ECO_HC_CD},num_channels=none,num_scales=3": ["scale_rate"],
}


@pytest.mark.parametrize("name", DEAD)
def test_every_field_is_read(name):
    params = params_of(name)
    frame, box = jax.ShapeDtypeStruct((*HW, 3), jnp.uint8), jax.ShapeDtypeStruct((4,), jnp.float32)

    def run(values, frame, box):
        tracker = cdjax.vary(name, values)
        return tracker.step(params, tracker.init(params, frame, box), frame)

    fields = sorted(config_of(name).traceable)
    values = {field: jax.ShapeDtypeStruct((), jnp.float32) for field in fields}
    jaxpr = jax.make_jaxpr(run)(values, frame, box).jaxpr
    read = {id(variable) for equation in jaxpr.eqns for variable in equation.invars}
    found = zip(fields, jaxpr.invars[: len(fields)], strict=True)
    assert [field for field, variable in found if id(variable) not in read] == DEAD[name]


@pytest.mark.slow
def test_nothing_is_for_the_host():
    tracker = cdjax.vary("CACF-CD", {"learning_rate": 0.1})
    assert (tracker.compact, tracker.room, tracker.fit, tracker.distil) == (None,) * 4


def test_a_lane_that_learns_no_scale_keeps_it():
    # The scale filter is there for the other lanes.
    rates = jnp.array([0.0, 0.2])
    frames, boxes = video(1)
    track = lambda rate: cdjax.track(
        cdjax.vary(ECO_HC, {"scale_rate": rate}), {}, jnp.asarray(frames[:3]), jnp.asarray(boxes[0])
    )
    outputs = jax.jit(jax.vmap(track))(rates)
    assert np.all(outputs.scale[0] == 1)
    assert np.all(outputs.scale[1, 1:] != 1)


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        ({"num_channels": 8}, {}, "CACF-CD cannot vary 'num_channels': use context_reg, joint_"),
        ({"rate": 0.1}, {}, "cannot vary 'rate': use .*, learning_rate, "),
        ({"learning_rate": 2.0}, {}, "learning_rate=2.0: use a number from 0 to 1"),
        ({"learning_rate": "0.1"}, {}, "learning_rate='0.1': use a number"),
        ({"reg": np.ones(3)}, {}, r"reg has shape \(3,\): use a scalar, and jax.vmap over many"),
        ({"strength_exponent": -1.0}, {}, "strength_exponent=-1.0: use 0 or more"),
        (
            {"stability_exponent": 2.0},
            {"friendliness": "sum"},
            'stability_exponent=2.0: use 1, or friendliness="ratio"',
        ),
        ({}, {"rate": 1}, "CACF-CD has no option 'rate'"),
    ],
)
def test_bad_values(values, options, words):
    with pytest.raises(cdjax.InputError, match=words):
        cdjax.vary("CACF-CD", values, **options)
