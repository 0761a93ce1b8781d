"""A small ECO problem as dense float64 matrices: rows are basis functions of each channel."""

import eco_dense as dense
import numpy as np

SIZES = ((9, 7), (5, 5), (9, 7))


def _functions(channels):
    """(block, channel, real function) of every unknown, and the channel it belongs to."""
    rows, owners, first = [], [], 0
    for i, (count, hw) in enumerate(zip(channels, SIZES, strict=True)):
        for channel in range(count):
            waves = dense.real_basis(hw)
            rows += [(i, channel, wave) for wave in waves]
            owners += [first + channel] * len(waves)
        first += count
    return rows, np.array(owners)


def response_rows(samples_f, channels, weights, label_f):
    """Root-weighted responses of every unknown, the label alike, and the unknowns' channels."""
    rows, owners = _functions(channels)
    side, root = dense.FINE, np.sqrt(weights)[:, None, None]
    seen = [[dense.values(block[:, c]).real for c in range(block.shape[1])] for block in samples_f]
    found = []
    for block, channel, wave in rows:
        one = np.fft.fft2(dense.values(wave).real)
        other = np.fft.fft2(seen[block][channel])
        response = np.fft.ifft2(one * other).real / side**2
        found.append((root * response / side).ravel())
    goal = root * dense.values(np.asarray(label_f)).real / side
    return np.stack(found), goal.ravel(), owners


def penalty_rows(channels, reg):
    """The window times every unknown; unknowns of different channels do not meet."""
    rows, owners = _functions(channels)
    window = dense.window(reg)
    cells = dense.FINE**2
    found = np.zeros((len(rows), sum(channels) * cells))
    for n, ((_, _, wave), owner) in enumerate(zip(rows, owners, strict=True)):
        values = window * dense.values(wave).real / dense.FINE
        found[n, owner * cells : (owner + 1) * cells] = values.ravel()
    return found
