"""Raw records → 5-minute grids, by the rules of the data contract and of the rollup.

Written a second time on purpose: what the program computes is compared with this, so nothing here is taken from it.
Rules: a value above the maximum but within the tolerance is the maximum; beyond it, below the minimum or not finite it is
a gap. A record without a usable value does not count. Of several records of one server and timestamp the first one
counts. A bucket's value is the mean in f64, kept as f32.
"""

import tomllib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Contract:
    metrics: list  # tables of the contract's TOML, in model order
    step_ms: int
    context: int
    horizon: int
    time_zone: str

    @property
    def names(self):
        return [m["name"] for m in self.metrics]

    @property
    def day(self):
        """Buckets of 24 hours."""
        return 86_400_000 // self.step_ms


def contract(name="vm"):
    with open(ROOT / "schemas" / f"{name}.contract.toml", "rb") as file:
        raw = tomllib.load(file)
    for metric in raw["metrics"]:
        if metric.get("rollup", "mean") != "mean" or "derived" in metric:
            raise SystemExit(f"{name}: {metric['name']}: only measured metrics that are rolled up by their mean are known here")
    step_ms = raw["step_seconds"] * 1000
    return Contract(raw["metrics"], step_ms, raw["context_steps"], raw["horizon_steps"], raw["time_zone"])


def ms(time):
    """RFC 3339 → ms; None stays None."""
    if time is None:
        return None
    parsed = datetime.fromisoformat(time.replace("Z", "+00:00"))
    if parsed.tzinfo is None:
        raise SystemExit(f"{time}: a time needs its offset, e.g. 2013-08-20T00:00:00Z")
    return int(parsed.timestamp() * 1000)


def milliseconds(column):
    """A column of times as ms, whatever its unit."""
    return column.cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).to_numpy()


def clean(values, metric):
    """The values as they count, f32; NaN is a gap."""
    values = values.astype(np.float32).copy()
    low = np.float32(metric["min"]) if "min" in metric else np.float32(-np.inf)
    values[~np.isfinite(values) | (values < low)] = np.nan
    if "max" in metric:
        high = np.float32(metric["max"])
        values[values > high + np.float32(metric.get("tolerance", 0))] = np.nan
        values = np.minimum(values, high)  # NaN stays NaN
    return values


@dataclass
class Series:
    server: str
    start_ms: int
    values: np.ndarray  # [metrics, steps] f32, NaN is a gap
    static: np.ndarray  # [columns] of the file that the contract does not name, newest row

    @property
    def steps(self):
        return self.values.shape[1]


def read(path, contract, static=()):
    """All series of a file of raw records, by server name."""
    table = pq.read_table(path)
    servers, codes = np.unique(table["server"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    times = milliseconds(table["timestamp"])
    values = [clean(table[m["name"]].to_numpy(), m) for m in contract.metrics]
    usable = np.any([np.isfinite(v) for v in values], axis=0) & (times >= ms("2000-01-01T00:00:00Z"))
    # Stable: of equal times the one that came first stays first.
    order = np.lexsort((times, codes))
    order = order[usable[order]]
    codes, times = codes[order], times[order]
    first = np.ones(len(order), bool)
    first[1:] = (codes[1:] != codes[:-1]) | (times[1:] != times[:-1])
    order, codes, times = order[first], codes[first], times[first]
    buckets = times // contract.step_ms
    starts = np.flatnonzero(np.r_[True, (codes[1:] != codes[:-1]) | (buckets[1:] != buckets[:-1])])
    means = np.stack([bucket_means(v[order], starts) for v in values])
    extra = np.stack([table[c].to_numpy().astype(np.float32)[order] for c in static]) if static else np.zeros((0, len(order)))
    return grids(servers, codes[starts], buckets[starts], means, extra[:, starts], contract)


def bucket_means(values, starts):
    present = np.isfinite(values)
    sums = np.add.reduceat(np.where(present, values, 0).astype(np.float64), starts)
    counts = np.add.reduceat(present.astype(np.int64), starts)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (sums / counts).astype(np.float32)


def grids(servers, codes, buckets, means, static, contract):
    series = []
    for code, server in enumerate(servers):
        rows = np.flatnonzero(codes == code)
        if len(rows) == 0:
            continue
        at = buckets[rows] - buckets[rows[0]]
        values = np.full((means.shape[0], int(at[-1]) + 1), np.nan, np.float32)
        values[:, at] = means[:, rows]
        series.append(Series(str(server), int(buckets[rows[0]]) * contract.step_ms, values, static[:, rows[-1]]))
    return series


def until(series, to_ms, contract):
    """The series without the buckets that start at or after `to_ms`; those without any left are dropped."""
    if to_ms is None:
        return series
    kept = []
    for s in series:
        steps = min(s.steps, max(0, -((s.start_ms - to_ms) // contract.step_ms)))
        while steps > 0 and np.isnan(s.values[:, steps - 1]).all():
            steps -= 1  # a grid ends with a row that is there
        if steps > 0:
            kept.append(Series(s.server, s.start_ms, s.values[:, :steps], s.static))
    return kept


def names(path):
    """Server names of a file, one a line; blank lines and lines with # are no names."""
    if path is None:
        return None
    lines = [line.strip() for line in Path(path).read_text().splitlines()]
    return {line for line in lines if line and not line.startswith("#")}


def only(series, wanted):
    return series if wanted is None else [s for s in series if s.server in wanted]
