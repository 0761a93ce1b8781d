import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdjax import filters

GRIDS = [(5, 6), (6, 5)]
C, DEAD = 3, 1

solve_dcf = jax.jit(filters.solve_dcf)
apply_filter = jax.jit(filters.apply_filter, static_argnames="hw")


def rounded(values):
    """Float64 values that float32 holds exactly, so that both sides see the same."""
    return np.asarray(values, np.float32).astype(np.float64)


def features(seed, *shape):
    return rounded(np.random.default_rng(seed).normal(size=shape) + 0.2)


def label_of(hw, peak=(1, 1)):
    """A Gaussian; off the origin by default, lest its spectrum be real."""
    rows, cols = (np.minimum(np.arange(s), s - np.arange(s)) for s in hw)
    return np.roll(np.exp(-0.5 * (rows[:, None] ** 2 + cols**2)), peak, (0, 1))


def half(maps):
    """Half spectra as the library takes them."""
    return np.fft.rfft2(maps).astype(np.complex64)


def correlate(maps, filt):
    """out[p] = sum over channels l and cells q of filt[l, q] maps[l, p + q], wrapped around."""
    out = np.zeros(maps.shape[1:])
    for u, v in np.ndindex(*maps.shape[1:]):
        out += np.tensordot(filt[:, u, v], np.roll(maps, (-u, -v), (1, 2)), 1)
    return out


def dense_filter(samples, label, ridge):
    """The ridge problem in space: one unknown for every cell of every channel."""
    rows = [
        [np.roll(one, (-u, -v), (0, 1)).ravel() for one in maps for u, v in np.ndindex(label.shape)]
        for maps in samples
    ]
    design = np.concatenate(np.swapaxes(rows, 1, 2))
    goal = np.tile(label.ravel(), len(samples))
    normal = design.T @ design + ridge * np.eye(design.shape[1])
    return np.linalg.solve(normal, design.T @ goal).reshape(samples.shape[1:])


def same(found, expected, tolerance):
    """Compares against the largest entry."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


# The exact solution


@pytest.mark.parametrize("hw", GRIDS)
@pytest.mark.parametrize("n", [1, 2, 4])  # 4 samples of 3 channels: the primal
def test_solve_equals_the_dense_spatial_solution(n, hw):
    samples, label = features(n, n, C, *hw), label_of(hw)
    samples[:, DEAD] = 0
    expected = np.fft.rfft2(dense_filter(samples, label, 3.0))
    found = solve_dcf(half(samples), half(label), reg=3.0)
    np.testing.assert_array_equal(found[DEAD], 0)
    # One small system a frequency, of condition below 100.
    same(found, expected, 2e-6)


def test_dual_equals_primal():
    """Every sample twice, at twice the ridge: the same filter, by the other system."""
    hw = GRIDS[0]
    samples_f, label_f = half(features(0, 2, C, *hw)), half(label_of(hw))
    dual = solve_dcf(samples_f, label_f, reg=2.0)
    primal = solve_dcf(np.concatenate([samples_f] * 2), label_f, reg=4.0)
    # The primal of 4 samples has a condition of about 100.
    same(primal, dual, 5e-6)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_solve_for_a_still_target(noise, n):
    """Samples that differ by little or nothing, under a ridge below the rounding of their power."""
    hw, ridge = GRIDS[0], 1e-7
    first = 30 * features(0, 1, C, *hw)
    samples_f = half(first + noise * features(1, n, C, *hw))
    wide = np.moveaxis(samples_f.astype(np.complex128), (0, 1), (2, 3))
    adjoint = wide.conj().swapaxes(2, 3)
    goal = np.fft.rfft2(label_of(hw))[..., None, None].repeat(n, 2)
    dual = adjoint @ np.linalg.solve(wide @ adjoint + ridge * np.eye(n), goal)
    expected = np.moveaxis(dual[..., 0].conj(), 2, 0)
    found = solve_dcf(samples_f, half(label_of(hw)), reg=ridge)
    same(found, expected, 1e-5)


@pytest.mark.parametrize("hw", GRIDS)
@pytest.mark.parametrize("num", [0, C, 32, 33])
def test_filters_correlate(hw, num):
    maps, filt = features(0, 6, num, *hw), features(1, num, *hw)
    expected = np.stack([correlate(one, filt) for one in maps])
    found = apply_filter(half(filt), half(maps), hw=hw)
    same(found, expected, 1e-6)
    # Any number of axes in front, none included.
    batch = half(maps).reshape(2, 3, num, *half(maps).shape[2:])
    same(apply_filter(half(filt), batch, hw=hw), expected.reshape(2, 3, *hw), 1e-6)
    same(apply_filter(half(filt), half(maps[0]), hw=hw), expected[0], 1e-6)


# CF2's running model

SEGMENTS = (2, 3)
NUM_CHANNELS = np.array([2, 2], np.float32)  # the last channel is a spare
WEIGHTS = (1.0, 0.25)
REG = 1e-2

train_dcf = jax.jit(filters.train_dcf, static_argnames=("hw", "segments", "reg"))
blend_dcf = jax.jit(filters.blend_dcf, static_argnames=("learning_rate", "update"))
respond_dcf = jax.jit(filters.respond_dcf, static_argnames=("hw", "segments", "segment_weights"))


def video(hw, frames=4, batch=()):
    maps = features(7, frames, *batch, sum(SEGMENTS), *hw)
    maps[..., -1, :, :] = 0
    return maps


def split(maps):
    return maps[..., :2, :, :], maps[..., 2:4, :, :]


def cf2(patches, search, label, rate):
    """Sections 7 and 8 of the specification with whole complex spectra, a filter a segment."""
    label_f = np.fft.fft2(label)
    total = 0
    for i, weight in enumerate(WEIGHTS):
        for t, patch in enumerate(patches):
            x = np.fft.fft2(split(patch)[i])
            k = (x * x.conj()).sum(0) / x.size
            alpha = label_f / (k + REG)
            model_x = x if t == 0 else (1 - rate) * model_x + rate * x
            model_a = alpha if t == 0 else (1 - rate) * model_a + rate * alpha
        z = np.fft.fft2(split(search)[i])
        kz = (z * model_x.conj()).sum(0) / z.size
        response = np.fft.ifft2(model_a * kz)
        assert np.abs(response.imag).max() < 1e-12
        total += weight * response.real
    return total


def averaged(patches, search, label, rate):
    """The filter's numerator and denominator, each a running average."""
    label_f = np.fft.fft2(label)
    total = 0
    for i, weight in enumerate(WEIGHTS):
        for t, patch in enumerate(patches):
            x = np.fft.fft2(split(patch)[i])
            top, bottom = label_f * x.conj(), (np.abs(x) ** 2).sum(0) + REG * x.size
            numerator = top if t == 0 else (1 - rate) * numerator + rate * top
            denominator = bottom if t == 0 else (1 - rate) * denominator + rate * bottom
        z = np.fft.fft2(split(search)[i])
        total += weight * np.fft.ifft2((numerator * z).sum(0) / denominator).real
    return total


def respond(patches, search, label, update, rate=0.3):
    """The library over several frames."""
    options = {"hw": label.shape, "segments": SEGMENTS, "num_channels": NUM_CHANNELS}
    models = [train_dcf(half(patch), reg=REG, **options) for patch in patches]
    model = functools.reduce(
        lambda old, new: blend_dcf(old, new, learning_rate=rate, update=update), models
    )
    return respond_dcf(model, half(label), half(search), segment_weights=WEIGHTS, **options)


@pytest.mark.parametrize("hw", GRIDS)
@pytest.mark.parametrize(("update", "reference"), [("cf2", cf2), ("average", averaged)])
def test_running_model_matches_its_equations(update, reference, hw):
    maps, label = video(hw), label_of(hw)
    for frames in (1, 3):
        expected = reference(maps[:frames], maps[-1], label, 0.3)
        found = respond(maps[:frames], maps[-1], label, update)
        # Sums over 4 channels, a division and a transform of 30 cells.
        same(found, expected, 1e-6)


def test_the_two_updates_differ():
    hw = GRIDS[0]
    maps, label = video(hw), label_of(hw)
    ours, theirs = (respond(maps[:3], maps[-1], label, update) for update in ("average", "cf2"))
    assert np.abs(np.asarray(ours) - theirs).max() > 0.01


def test_responses_keep_the_axes_in_front():
    hw = GRIDS[0]
    maps, label = video(hw, batch=(2,)), label_of(hw)
    found = respond(maps[:2, 0], maps, label, "average")
    assert found.shape == (4, 2, *hw)
    for index in np.ndindex(4, 2):
        same(found[index], averaged(maps[:2, 0], maps[index], label, 0.3), 1e-6)


def test_no_rate_keeps_the_model_and_full_rate_replaces_it():
    hw = GRIDS[0]
    maps, label = video(hw), label_of(hw)
    for update in ("cf2", "average"):
        kept = respond(maps[:2], maps[-1], label, update, rate=0.0)
        same(kept, averaged(maps[:1], maps[-1], label, 0.0), 1e-6)
        replaced = respond(maps[:2], maps[-1], label, update, rate=1.0)
        same(replaced, averaged(maps[1:2], maps[-1], label, 0.0), 1e-6)


def test_unknown_updates_raise():
    model = filters.DCFModel(jnp.zeros((1, 5, 4), jnp.complex64), jnp.ones((1, 5, 4)))
    with pytest.raises(ValueError, match="unknown update 'mean'"):
        filters.blend_dcf(model, model, learning_rate=0.1, update="mean")


JOINT = {"segments": (C,), "num_channels": np.array([C], np.float32)}


@pytest.mark.parametrize("hw", GRIDS)
def test_trained_model_equals_the_ridge_filter(hw):
    template, search, label = features(0, C, *hw), features(1, C, *hw), label_of(hw)
    model = train_dcf(half(template), hw=hw, reg=REG, **JOINT)
    found = respond_dcf(model, half(label), half(search), hw=hw, segment_weights=(1.0,), **JOINT)
    ridge = REG * hw[0] * hw[1] * C
    filt = dense_filter(template[None], label, ridge)
    same(found, correlate(search, filt), 1e-6)
    exact = solve_dcf(half(template)[None], half(label), reg=ridge)
    same(apply_filter(exact, half(search), hw=hw), found, 1e-6)


@pytest.mark.parametrize("hw", GRIDS)
@pytest.mark.parametrize("n", [1, 4])
def test_the_peak_follows_a_shifted_copy(n, hw):
    """The sign convention: a patch rolled down and right by a shift peaks at that shift."""
    patch, label = features(3, C, *hw), label_of(hw, peak=(0, 0))
    samples = patch[None] + 0.1 * features(4, n, C, *hw)
    shifts = list(np.ndindex(*hw))
    search = np.stack([np.roll(patch, shift, (1, 2)) for shift in shifts])
    model = train_dcf(half(patch), hw=hw, reg=REG, **JOINT)
    maps = {
        "exact": apply_filter(solve_dcf(half(samples), half(label), reg=1.0), half(search), hw=hw),
        "running": respond_dcf(
            model, half(label), half(search), hw=hw, segment_weights=(1.0,), **JOINT
        ),
    }
    for response in maps.values():
        peaks = np.asarray(response).reshape(len(shifts), -1).argmax(1)
        np.testing.assert_array_equal(np.stack(np.unravel_index(peaks, hw), 1), shifts)
