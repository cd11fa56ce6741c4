"""Which forecasts are judged, and the windows' values.

By `interface.md`, Training and evaluation: each server's grid starts at its first possible issue time in the range and
steps by the stride; a window needs at least 12 rows with a value among the context's buckets and one actual after it.
`from` and `to` bound all steps of the horizon; without `to`, the end of the data does.
"""

import numpy as np

MIN_CONTEXT_ROWS = 12


def choose(series, contract, from_ms=None, to_ms=None, stride=96):
    """[(series index, issue step)]: the context ends before the issue step, the horizon starts with it."""
    step = contract.step_ms
    if to_ms is None:
        to_ms = max((s.start_ms + s.steps * step for s in series), default=0)
    chosen = []
    for index, s in enumerate(series):
        rows = np.r_[0, np.cumsum(np.isfinite(s.values).any(axis=0))]
        first = 0 if from_ms is None else max(0, -((s.start_ms - from_ms) // step))
        last = min((to_ms - s.start_ms) // step - contract.horizon, s.steps - 1)
        issues = np.arange(first, last + 1)
        before = rows[issues] - rows[np.maximum(issues - contract.context, 0)]
        after = rows[np.minimum(issues + contract.horizon, s.steps)] - rows[issues]
        possible = (before >= MIN_CONTEXT_ROWS) & (after > 0)
        if possible.any():
            at = np.arange(int(np.argmax(possible)), len(issues), stride)
            chosen += [(index, int(issue)) for issue in issues[at[possible[at]]]]
    return chosen


def cut(series, chosen, contract, metric):
    """Context [windows, context] and actuals [windows, horizon] of one metric; NaN where there is no value."""
    before, after = contract.context, contract.horizon
    padded = [np.pad(s.values[metric], (before, after), constant_values=np.nan) for s in series]
    rows = np.stack([padded[i][issue : issue + before + after] for i, issue in chosen])
    return rows[:, :before], rows[:, before:]


def issue_ms(series, chosen, contract):
    return np.array([series[i].start_ms + issue * contract.step_ms for i, issue in chosen], np.int64)


def last_values(context):
    """The last value of each row; NaN where there is none."""
    present = np.isfinite(context)
    at = context.shape[1] - 1 - np.argmax(present[:, ::-1], axis=1)
    return np.where(present.any(axis=1), context[np.arange(len(context)), at], np.nan)


def quantiles(rows, taus):
    """Linearly interpolated quantiles of each row's values [rows, taus]; NaN where a row has none."""
    ordered = np.sort(rows.astype(np.float64), axis=1)  # NaN last
    count = np.isfinite(rows).sum(axis=1)
    place = np.maximum(count - 1, 0)[:, None] * np.asarray(taus)[None, :]
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, np.maximum(count - 1, 0)[:, None])
    a, b = np.take_along_axis(ordered, low, 1), np.take_along_axis(ordered, high, 1)
    return np.where(count[:, None] > 0, a + (b - a) * (place - low), np.nan)
