"""The tests that drift monitors use by default, for many windows against one reference.

SciPy and Evidently sort the reference anew for every window; here each value is looked up in it once, and a window is a few sums
over what was found, with the same result (`test_drift.py` holds it against SciPy, `drift.py` against Evidently itself).
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import kstwo

BINS = 10
# In place of an empty bin, as Evidently does it.
EMPTY = 1e-4


@dataclass
class Looked:
    """Values and how many of the reference are at most, and are less than, each. All three grow together, so that each may be
    sorted by itself."""

    values: np.ndarray
    up_to: np.ndarray
    less: np.ndarray

    def windows(self, ends, length):
        """The `length` rows before each of `ends` as one row each, sorted."""
        cut = lambda held: np.sort(np.stack([held[end - length : end].ravel() for end in ends]), axis=1)
        return Looked(cut(self.values), cut(self.up_to), cut(self.less))


class Reference:
    """One metric of one profile in the baseline."""

    def __init__(self, values):
        self.values = np.sort(values, axis=None)
        self.size = self.values.size
        exact = self.values.astype(np.float64)
        # Sums stay small, so that differences of them are exact to 1e-9.
        self.middle = exact.mean()
        self.below = np.concatenate([[0.0], np.cumsum(exact - self.middle)])
        # Evidently's floor of the scale.
        self.scale = max(float(exact.std()), 0.001)
        edges = np.quantile(exact, np.arange(1, BINS) / BINS)
        # Values of the reference up to each decile, which is what tells a value's bin.
        self.edges = np.searchsorted(exact, edges, "right")
        self.shares = np.diff(self.edges, prepend=0, append=self.size) / self.size

    def look_up(self, values):
        up_to = np.searchsorted(self.values, values, "right").astype(np.int32)
        less = up_to.copy()
        tied = self.values[up_to - 1] == values
        less[tied] = np.searchsorted(self.values, values[tied], "left")
        return Looked(values, up_to, less)

    def ks(self, windows):
        """The two-sample Kolmogorov-Smirnov statistic: the largest distance of the two distribution functions."""
        size = windows.values.shape[1]
        held = np.arange(size + 1) / size
        up = (held[1:] - windows.up_to / self.size).max(axis=1)
        down = (windows.less / self.size - held[:-1]).max(axis=1)
        return np.maximum(up, down)

    def ks_critical(self, size, p):
        """The statistic that a window of `size` values reaches with probability `p`: `scipy.stats.ks_2samp`'s asymptotic
        distribution, which it takes where a sample has more than 10,000 values, as the reference has."""
        return kstwo.isf(p, np.round(self.size * size / (self.size + size)))

    def wasserstein(self, windows):
        """`scipy.stats.wasserstein_distance` over the reference's standard deviation: Evidently's default above 1,000 rows.

        The integral of |F − G|. G is constant, c, between two values of the window; F crosses c once there, at the reference's
        quantile, and its integral up to x is that of the values below x: Σ (x − value) / size.
        """
        size = windows.values.shape[1]
        x = windows.values.astype(np.float64) - self.middle
        integral = (windows.up_to * x - self.below[windows.up_to]) / self.size
        low, high, low_sum, high_sum = x[:, :-1], x[:, 1:], integral[:, :-1], integral[:, 1:]
        step = np.arange(1, size)
        place = -(-step * self.size // size)
        quantile = self.values[place - 1].astype(np.float64) - self.middle
        sum_there = (place * quantile - self.below[place]) / self.size
        # Not crossed between the two values: as if at the nearer one.
        cross = np.clip(quantile, low, high)
        cross_sum = np.clip(sum_there, low_sum, high_sum)
        between = step / size * (2 * cross - low - high) + low_sum + high_sum - 2 * cross_sum
        beyond = integral[:, -1] - x[:, -1] + self.below[-1] / self.size
        return (integral[:, 0] + between.sum(axis=1) + beyond) / self.scale

    def psi(self, windows):
        """Population stability index over the reference's deciles: Σ (a − e) ln(a / e) of the shares. An edge belongs to the
        bin below."""
        size = windows.values.shape[1]
        above = np.stack([(windows.up_to > edge).sum(axis=1) for edge in self.edges])
        inside = -np.diff(above, axis=0, prepend=size, append=0) / size
        actual, expected = np.maximum(inside.T, EMPTY), np.maximum(self.shares, EMPTY)
        return ((actual - expected) * np.log(actual / expected)).sum(axis=1)
