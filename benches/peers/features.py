"""Hand-made features of a window, one row per forecast step, for the gradient-boosted peer.

All values are relative to the window: (value − median of the last 24 h) / scale, so that one model serves servers of every
size; the target is in the same units. Nothing but the context's 24 hours, the clock and the VM's size is looked at.
"""

import warnings
import zoneinfo
from datetime import datetime

import numpy as np

import windows

SPANS = (3, 6, 12, 24, 48, 96, 144, 288)  # 15 min, 30 min, 1, 2, 4, 8, 12, 24 h
SPREAD_SPANS = (12, 48, 288)
AROUND = 6  # buckets around the same time yesterday


def names(num_metrics):
    return (
        ["step", "hour", "weekday", "weekend"]
        + ["last", "since_last", "zeros", "present", "log_scale", "log_level", "trend"]
        + [f"mean_{n}" for n in SPANS]
        + [f"{what}_{n}" for n in SPREAD_SPANS for what in ("sd", "min", "max")]
        + ["p10", "p25", "p75", "p90"]
        + ["yesterday", "yesterday_mean", "yesterday_min", "yesterday_max"]
        + [f"other_{i}" for i in range(num_metrics - 1)]
        + ["cores", "memory"]
    )


def quiet(function, *args, **kwargs):
    """NumPy's nan-functions without the warning for rows of gaps, whose result is a gap."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return function(*args, **kwargs)


def level_and_scale(context, floor):
    """Median and a robust spread of the last 24 h that is never below `floor`; (NaN, NaN) where nothing is known."""
    taus = windows.quantiles(context, (0.1, 0.5, 0.9))
    level = taus[:, 1]
    deviation = quiet(np.nanmean, np.abs(context - level[:, None]), axis=1)
    return level, np.maximum(np.maximum(taus[:, 2] - taus[:, 0], deviation), floor)


def floors(series, num_metrics):
    """A ten-thousandth of each metric's mean: the smallest servers' traffic is that small, and a constant day has no spread."""
    return [1e-4 * float(np.nanmean(np.concatenate([np.abs(s.values[m]) for s in series]))) + 1e-6 for m in range(num_metrics)]


class Windows:
    """Windows of all metrics with what their features share."""

    def __init__(self, series, chosen, contract, floor):
        self.contract = contract
        self.chosen = chosen
        cuts = [windows.cut(series, chosen, contract, m) for m in range(len(contract.metrics))]
        self.context = [c for c, _ in cuts]
        self.actual = [a for _, a in cuts]
        self.scales = [level_and_scale(c[:, -contract.day :], f) for c, f in zip(self.context, floor)]
        self.issued = windows.issue_ms(series, chosen, contract)
        self.static = np.stack([series[i].static for i, _ in chosen])

    def recent_hour(self, metric):
        """Mean of the last hour in the window's own units: what the other metrics' models see of this one."""
        level, scale = self.scales[metric]
        return (quiet(np.nanmean, self.context[metric][:, -12:], axis=1) - level) / scale

    def per_window(self, metric):
        """[windows, features that do not depend on the step]"""
        level, scale = self.scales[metric]
        context = self.context[metric]
        z = (context - level[:, None]) / scale[:, None]
        present = np.isfinite(z)
        since = np.argmax(present[:, ::-1], axis=1)
        tail = lambda function, n: quiet(function, z[:, -n:], axis=1)
        recent = tail(np.nanmean, 12)
        columns = [windows.last_values(z), since, quiet(np.nanmean, np.where(present, context == 0, np.nan), axis=1)]
        columns += [present.mean(axis=1), np.log(scale), np.log1p(np.abs(level))]
        columns += [recent - quiet(np.nanmean, z[:, -24:-12], axis=1)]
        columns += [tail(np.nanmean, n) for n in SPANS]
        columns += [tail(f, n) for n in SPREAD_SPANS for f in (np.nanstd, np.nanmin, np.nanmax)]
        columns += list(windows.quantiles(z, (0.1, 0.25, 0.75, 0.9)).T)
        return np.stack(columns, axis=1).astype(np.float32)

    def per_step(self, metric):
        """[windows, horizon, 4]: the same time yesterday and its neighbourhood."""
        level, scale = self.scales[metric]
        z = ((self.context[metric] - level[:, None]) / scale[:, None]).astype(np.float32)
        day, horizon = self.contract.day, self.contract.horizon
        padded = np.pad(z, ((0, 0), (AROUND, AROUND)), constant_values=np.nan)
        start = z.shape[1] - day
        around = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1, axis=1)[:, start : start + horizon]
        own = z[:, start : start + horizon]
        parts = [quiet(f, around, axis=2) for f in (np.nanmean, np.nanmin, np.nanmax)]
        return np.stack([own, *parts], axis=2)

    def clock(self):
        """[windows, horizon, 3]: hour, weekday and weekend in the contract's zone. Offsets change between windows, not in them."""
        zone = zoneinfo.ZoneInfo(self.contract.time_zone)
        shift = np.array([datetime.fromtimestamp(t / 1000, zone).utcoffset().total_seconds() for t in self.issued])
        steps = np.arange(self.contract.horizon) * self.contract.step_ms / 1000
        seconds = self.issued[:, None] / 1000 + shift[:, None] + steps[None, :]
        weekday = (seconds // 86_400 + 3) % 7  # 1970-01-01 was a Thursday
        return np.stack([seconds % 86_400 / 3600, weekday, weekday >= 5], axis=2).astype(np.float32)

    def rows(self, metric, window, step):
        """Features [rows, names] of the given windows' steps."""
        others = [self.recent_hour(m) for m in range(len(self.context)) if m != metric]
        fixed = self.per_window(metric)
        tail = np.column_stack([*others, self.static]).astype(np.float32)
        return np.column_stack(
            [step.astype(np.float32), self.clock()[window, step], fixed[window], self.per_step(metric)[window, step], tail[window]]
        )
