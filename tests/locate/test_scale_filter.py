import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdjax.deep_features import fhog
from cdjax.locate import (
    ScaleFilter,
    find_scale,
    scale_factors,
    scale_response,
    train_scale_filter,
    update_scale_filter,
)

EXPONENTS = np.arange(-8, 9) * 33 / 17
POWERS = np.roll(np.arange(33) - 16, -16)


def reference(template, features, energy, reg=0.01):
    """The definition with its QR bases, in float64: response and the new frame's energy."""
    window = np.hanning(17)[:, None]
    label_f = np.fft.fft(np.roll(np.exp(-0.5 * (EXPONENTS / (33 / 16)) ** 2), -8))
    basis = np.linalg.qr(template.T)[0]
    numerator = label_f[:, None] * np.fft.fft(window * (template @ basis), axis=0).conj()
    seen = np.fft.fft(window * (features @ basis), axis=0)
    response_f = (numerator * seen).sum(1) / (energy + reg)
    padded = np.zeros(33, complex)
    padded[:9], padded[-8:] = response_f[:9], response_f[9:]
    own = np.linalg.qr(features.T)[0]
    new = (np.abs(np.fft.fft(window * (features @ own), axis=0)) ** 2).sum(1)
    return np.fft.ifft(padded * 33 / 17).real, new


def draw(seed, num=60):
    return np.random.default_rng(seed).uniform(0, 0.4, (17, num))


@pytest.mark.parametrize("rank", [60, 5])
def test_matches_the_definition_with_its_bases(rank):
    # Of rank 5 the bases span more than the features: nothing changes.
    template, features = (draw(i, rank) @ draw(9, rank).T for i in (0, 1))
    filt = train_scale_filter(jnp.asarray(template, jnp.float32))
    _, energy = reference(template, template, 1.0)
    np.testing.assert_allclose(filt.energy, energy[:9], rtol=1e-4, atol=1e-5 * energy.max())
    expected, _ = reference(template, features, energy)
    found = scale_response(filt, jnp.asarray(features, jnp.float32))
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.data
@pytest.mark.parametrize("name", ["Crossing", "Jumping"])
def test_steps_of_the_oracle(parity_dir, name):
    with np.load(parity_dir / "fdsst.npz") as oracle:
        get = {k.removeprefix(f"{name}_"): oracle[k] for k in oracle.files if k.startswith(name)}
    np.testing.assert_allclose(scale_factors(), get["size_factors"], rtol=1e-6)
    first = train_scale_filter(jnp.asarray(get["update_features"][0].T))
    np.testing.assert_allclose(first.energy, get["den"][0][:9], rtol=1e-5)
    respond, update = jax.jit(scale_response), jax.jit(update_scale_filter)
    for t in range(1, 5):
        filt = ScaleFilter(
            jnp.asarray(get["num_model"][t - 1].T), jnp.asarray(get["den"][t - 1][:9], jnp.float32)
        )
        response = respond(filt, jnp.asarray(get["track_features"][t].T))
        scale = np.abs(get["response_interp"][t]).max()
        np.testing.assert_allclose(response, get["response_interp"][t], atol=1e-5 * scale)
        assert int(jnp.argmax(response)) == get["response_index"][t]
        factor = find_scale(response)
        np.testing.assert_allclose(factor, get["factor_float64"][t], atol=4e-6)
        np.testing.assert_allclose(factor, get["factor"][t], atol=1e-5)
        new = update(filt, jnp.asarray(get["update_features"][t].T))
        np.testing.assert_allclose(new.template, get["num_model"][t].T, atol=1e-6)
        np.testing.assert_allclose(new.energy, get["den"][t][:9], rtol=1e-5)


def test_a_grown_target_is_measured():
    """Features that depend on size alone: a bump on a logarithmic axis."""
    place = np.linspace(-1, 1, 200)

    def seen(factors):
        return jnp.asarray(np.exp(-((place - np.log(factors)[:, None]) ** 2) / 5e-4), jnp.float32)

    filt = train_scale_filter(seen(scale_factors()))
    for grown in (0.9, 0.97, 1.0, 1.05, 1.13):
        # Cropped at a factor, a target grown by `grown` looks as one of factor / grown did.
        found = find_scale(scale_response(filt, seen(scale_factors() / grown)))
        np.testing.assert_allclose(found, grown, atol=6e-3)


def test_vertex_is_that_of_the_parabola_and_ends_are_safe():
    factors = 1.02**POWERS
    for top in (0.95, 1.0, 1.1237):
        response = jnp.asarray(2 - 30 * (factors - top) ** 2, jnp.float32)
        np.testing.assert_allclose(find_scale(response), top, atol=2e-5)
    for end in (16, -16):
        response = jnp.asarray(np.where(POWERS == end, 1.0, 0.1 * POWERS / end), jnp.float32)
        np.testing.assert_allclose(find_scale(response), 1.02**end, rtol=1e-5)
    assert find_scale(jnp.zeros(33)) == 1
    assert find_scale(jnp.full(33, -2.0)) == 1
    nothing = train_scale_filter(jnp.zeros((17, 31)))
    assert find_scale(scale_response(nothing, jnp.zeros((17, 31)))) == 1


def test_lanes_are_independent():
    templates, features = (jnp.asarray([draw(i), draw(i + 5)], jnp.float32) for i in (1, 2))

    def step(template, seen):
        filt = update_scale_filter(train_scale_filter(template), seen)
        return scale_response(filt, template)

    both = jax.vmap(step)(templates, features)
    for lane, template, seen in zip(both, templates, features, strict=True):
        np.testing.assert_allclose(lane, step(template, seen), rtol=1e-4, atol=1e-5)


@pytest.mark.data
@pytest.mark.parametrize("name", ["Crossing", "Jumping"])
def test_factors_from_the_patches_of_the_oracle(parity_dir, name):
    """With FHOG of our own, whose roots are exact, from models of the oracle."""
    with np.load(parity_dir / "fdsst.npz") as oracle:
        get = {k.removeprefix(f"{name}_"): oracle[k] for k in oracle.files if k.startswith(name)}
    patches = get["track_patches"][1:].astype(np.float32)
    patches = patches.reshape(-1, *patches.shape[2:4], 3 if patches.ndim == 5 else 1)
    features = np.asarray(jax.jit(fhog)(jnp.asarray(patches))).reshape(4, 17, -1)
    for t in range(1, 5):
        filt = ScaleFilter(
            jnp.asarray(get["num_model"][t - 1].T), jnp.asarray(get["den"][t - 1][:9], jnp.float32)
        )
        factor = find_scale(scale_response(filt, jnp.asarray(features[t - 1])))
        np.testing.assert_allclose(factor, get["factor_float64"][t], atol=1e-3)
