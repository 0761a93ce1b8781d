"""Context-aware filters against dense float64 solutions and the reference's own features."""

import jax.numpy as jnp
import numpy as np
import pytest

from cdjax import filters

HW = (6, 5)


def draw(shape, seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def circulants(maps):
    """[n, k, h, w] maps as [n, h w, k h w] matrices that correlate with stacked filters."""
    maps = np.asarray(maps)
    num, channels, height, width = maps.shape
    rows = [
        np.roll(maps, (-row, -col), axis=(2, 3)).reshape(num, -1)
        for row in range(height)
        for col in range(width)
    ]
    return np.stack(rows, axis=1).astype(np.float64)


def dense_filter(samples, context, label, reg, context_reg):
    """The ridge solution over pixels: context rows under the target's, with goal zero."""
    target = circulants(samples).reshape(-1, samples[0].size)
    zeros = circulants(context).reshape(-1, samples[0].size)
    rows = np.concatenate([target, context_reg**0.5 * zeros])
    goal = np.concatenate([np.tile(np.ravel(label), len(samples)), np.zeros(len(zeros))])
    normal = rows.T @ rows + reg * np.eye(rows.shape[1])
    return np.linalg.solve(normal, rows.T @ goal).reshape(samples.shape[1:])


@pytest.mark.parametrize(("num", "channels"), [(1, 8), (2, 12), (1, 2)])
def test_joint_form_is_the_dense_ridge_solution(num, channels):
    # More channels than rows, then fewer: dual and primal.
    samples, context = draw((num, channels, *HW), 0), draw((num, 4, channels, *HW), 1)
    label = draw(HW, 2)
    found = filters.solve_joint_cacf(
        filters.rfft2(samples),
        filters.rfft2(context),
        filters.rfft2(label),
        reg=0.5,
        context_reg=3.0,
    )
    expected = dense_filter(samples, context.reshape(-1, channels, *HW), label, 0.5, 3.0)
    np.testing.assert_allclose(filters.irfft2(found, hw=HW), expected, atol=2e-5)


def test_independent_form_solves_each_channel_alone():
    template, context, label = draw((3, *HW), 0), draw((4, 3, *HW), 1), draw(HW, 2)
    found = filters.solve_cacf(
        *(filters.rfft2(x) for x in (template, context, label)), reg=0.5, context_reg=3.0
    )
    for channel in range(3):
        alone = slice(channel, channel + 1)
        expected = dense_filter(template[None, alone], context[:, alone], label, 0.5, 3.0)
        np.testing.assert_allclose(filters.irfft2(found[alone], hw=HW), expected, atol=2e-6)


def test_both_forms_agree_for_one_channel():
    spectra = [
        filters.rfft2(draw(shape, seed)) for seed, shape in enumerate(((1, *HW), (4, 1, *HW)))
    ]
    label_f = filters.rfft2(draw(HW, 5))
    one = filters.solve_cacf(spectra[0], spectra[1], label_f, reg=0.1, context_reg=25.0)
    both = filters.solve_joint_cacf(
        spectra[0][None], spectra[1][None], label_f, reg=0.1, context_reg=25.0
    )
    np.testing.assert_allclose(one, both, rtol=1e-4, atol=1e-5)


def test_without_context_the_joint_form_is_the_plain_filter():
    samples_f, label_f = filters.rfft2(draw((2, 4, *HW), 0)), filters.rfft2(draw(HW, 1))
    context_f = filters.rfft2(draw((2, 4, 4, *HW), 2))
    found = filters.solve_joint_cacf(samples_f, context_f, label_f, reg=1.0, context_reg=0.0)
    np.testing.assert_allclose(
        found, filters.solve_dcf(samples_f, label_f, reg=1.0), rtol=1e-3, atol=1e-5
    )


@pytest.mark.data
@pytest.mark.parametrize("name", ["Crossing", "Jumping"])
def test_filter_and_response_equal_the_references(parity_dir, name):
    # From the reference's features: the closed form, the running average and the response.
    with np.load(parity_dir / f"dcf_ca_{name}.npz") as file:
        data = {key: jnp.asarray(file[key]) for key in file.files}
    window = data["cos_window"][:, :, None]
    np.testing.assert_allclose(filters.hann_window(window.shape[:2]), data["cos_window"], atol=1e-6)
    label_f = filters.rfft2(data["label"])
    spectra = lambda hog: filters.rfft2(
        jnp.moveaxis(hog * jnp.broadcast_to(window, hog.shape), -1, -3)
    )
    reference = lambda t: jnp.moveaxis(data["filter"][t], -1, 0)

    model = None
    for t in data["context_frames"]:
        new = filters.solve_cacf(
            spectra(data["x_hog"][t]),
            spectra(data["context_hog"][t]),
            label_f,
            reg=float(data["lambda1"]),
            context_reg=float(data["lambda2"]),
        )
        rate = float(data["learning_rate"])
        model = new if model is None else (1 - rate) * model + rate * new
        # Ours is conjugated in use, the reference's as it is stored.
        scale = np.abs(reference(t)).max()
        np.testing.assert_allclose(np.conj(model), reference(t), atol=1e-5 * scale)
    for t, hog in zip(data["z_frames"], data["z_hog"], strict=True):
        response = filters.apply_filter(
            jnp.conj(reference(t - 1)), spectra(hog), hw=data["label"].shape
        )
        expected = data["response"][t]
        np.testing.assert_allclose(response, expected, atol=1e-5 * np.abs(expected).max())
        peak = np.unravel_index(np.argmax(response), response.shape)
        np.testing.assert_array_equal(peak, data["peak"][t])
