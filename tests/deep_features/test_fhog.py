import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdjax._errors import InputError
from cdjax.deep_features import fhog as eager_fhog
from cdjax.deep_features._shallow import _orientation_bin

fhog = jax.jit(eager_fhog, static_argnames=("cell", "gain"))


@pytest.mark.data
@pytest.mark.parametrize(
    ("crop", "cell", "of"),
    [(crop, cell, "") for crop in ("crossing", "diving", "jumping_gray") for cell in (4, 6)]
    + [("jumping_gray", 4, "_div255")],
)
def test_matches_the_toolbox(parity_dir, crop, cell, of):
    with np.load(parity_dir / "fhog.npz") as oracle:
        image, expected = oracle[f"{crop}_image"], oracle[f"{crop}{of}_bin{cell}"]
    image = jnp.asarray(image, jnp.float32).reshape(1, *image.shape[:2], -1)
    gain = 1 / 255 if of else 1.0
    difference = np.abs(np.asarray(fhog(image, cell=cell, gain=gain)[0]) - expected)
    # Tolerances of the oracle: pixels that change their bin move single cells.
    assert difference.mean() < 3e-4
    assert (difference > 2e-3).mean() < 0.015
    assert np.sqrt((difference**2).mean() / (expected**2).mean()) < 0.02


@pytest.mark.data
def test_directions_fall_in_the_toolbox_bins(parity_dir):
    with np.load(parity_dir / "fhog.npz") as oracle:
        table = oracle["direction_table"]
    dx, dy = (jnp.asarray(table[:, i]).reshape(1, 1, -1) for i in (0, 1))
    np.testing.assert_array_equal(_orientation_bin(dx, dy)[0, 0], table[:, 2])


def reference(image, cell):
    """The definition, pixel by pixel, in float64."""
    dy, dx = (np.gradient(image, axis=axis) for axis in (0, 1))
    best = (dx**2 + dy**2).argmax(-1)[..., None]
    dx, dy = (np.take_along_axis(d, best, -1)[..., 0] for d in (dx, dy))
    angle = np.arctan2(dy, dx) % (2 * np.pi)
    bins = np.floor(angle * 9 / np.pi + 0.5).astype(int) % 18
    h, w = image.shape[0] // cell, image.shape[1] // cell
    votes = np.zeros((h + 2, w + 2, 18))
    for y in range(h * cell):
        for x in range(w * cell):
            v, u = (y + 0.5) / cell + 0.5, (x + 0.5) / cell + 0.5
            i, j = int(v), int(u)
            size = np.hypot(dx[y, x], dy[y, x]) / cell**2
            for a, b, share in (
                (0, 0, (1 - v + i) * (1 - u + j)),
                (0, 1, (1 - v + i) * (u - j)),
                (1, 0, (v - i) * (1 - u + j)),
                (1, 1, (v - i) * (u - j)),
            ):
                votes[i + a, j + b, bins[y, x]] += size * share
    votes = votes[1:-1, 1:-1]
    votes[[0, -1]] *= 8 / 7
    votes[:, [0, -1]] *= 8 / 7
    folded = votes[..., :9] + votes[..., 9:]
    energy = (folded**2).sum(-1)
    norms = np.zeros((h + 1, w + 1))
    for i in range(1, h):
        for j in range(1, w):
            block = energy[i - 1 : i + 1, j - 1 : j + 1].sum()
            norms[i, j] = (block + 1e-4 / (4 * cell**4)) ** -0.5
    norms[0], norms[-1] = norms[1], norms[-2]
    norms[:, 0], norms[:, -1] = norms[:, 1], norms[:, -2]
    out = np.zeros((h, w, 31))
    for i in range(h):
        for j in range(w):
            for n, (a, b) in enumerate(((1, 1), (0, 1), (1, 0), (0, 0))):
                signed = np.minimum(votes[i, j] * norms[i + a, j + b], 0.2)
                unsigned = np.minimum(folded[i, j] * norms[i + a, j + b], 0.2)
                out[i, j, :18] += 0.5 * signed
                out[i, j, 18:27] += 0.5 * unsigned
                out[i, j, 27 + n] = 0.2357 * signed.sum()
    return out


@pytest.mark.parametrize(("hw", "cell"), [((17, 22), 4), ((12, 13), 3)])
def test_matches_the_definition(hw, cell):
    images = np.random.default_rng(0).uniform(0, 255, (2, *hw, 3))
    got = fhog(jnp.asarray(images, jnp.float32), cell=cell)
    for image, features in zip(images, got, strict=True):
        np.testing.assert_allclose(features, reference(image, cell), atol=2e-5)


def test_gray_equals_replicated_gray():
    gray = jnp.asarray(np.random.default_rng(1).uniform(0, 255, (1, 16, 16, 1)))
    gray = gray.astype(jnp.float32)
    np.testing.assert_array_equal(fhog(gray), fhog(jnp.tile(gray, (1, 1, 1, 3))))


def test_gradient_is_finite_and_right():
    image = np.random.default_rng(2).uniform(0, 255, (1, 12, 12, 1)).astype(np.float32)
    image[:, :4] = 7  # flat: the square root's derivative has a pole there
    weights = np.random.default_rng(3).normal(size=(1, 3, 3, 31)).astype(np.float32)
    value = jax.jit(lambda x: (fhog(x) * weights).sum())
    gradient = jax.jit(jax.grad(value))(jnp.asarray(image))
    assert np.isfinite(gradient).all()
    step = np.random.default_rng(4).normal(size=image.shape).astype(np.float32)
    step[:, :5] = 0
    change = value(image + 1e-2 * step) - value(image - 1e-2 * step)
    np.testing.assert_allclose(change / 2e-2, (gradient * step).sum(), rtol=0.05)


def test_batch_equals_single():
    images = np.random.default_rng(5).uniform(0, 255, (3, 20, 16, 3))
    images = jnp.asarray(images, jnp.float32)
    batch = fhog(images)
    np.testing.assert_allclose(jax.vmap(lambda x: fhog(x[None])[0])(images), batch, atol=1e-6)
    np.testing.assert_allclose(fhog(images[1:2])[0], batch[1], atol=1e-6)


def test_one_cell_is_refused():
    with pytest.raises(InputError, match="two cells"):
        fhog(jnp.zeros((1, 7, 16, 1)))
