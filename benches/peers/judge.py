"""Judges forecast files by the rules of `interface.md`, independently of the program's own evaluation.

    judge.py --data RECORDS [--from T] [--to T] [--servers FILE] [--stride N] NAME=FORECASTS…
             [--program EVAL.json] [--json OUT.json]

A forecast file has the columns `server, issued_at, step, metric, p10, p50, p90`, as `forewarn eval --out` writes them.
Every file must hold exactly the windows that the rules ask for. `--program` is what `forewarn eval --json` printed for the
first file: every figure must agree to 1e-3, else the exit code is 3.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field

import numpy as np
import pyarrow.parquet as pq

import rollups
import windows

TAUS = (0.1, 0.5, 0.9)
TOLERANCE = 1e-3
# Ratios of "per server" are clipped, so that a server that is nearly constant does not decide alone.
CLIP = (0.05, 20.0)


@dataclass
class Truth:
    """What the windows of a range hold, and the naive forecasts of it."""

    contract: rollups.Contract
    series: list
    chosen: list
    metrics: dict = field(default_factory=dict)

    @classmethod
    def of(cls, data, contract, from_ms=None, to_ms=None, servers=None, stride=96):
        series = rollups.only(rollups.until(data, to_ms, contract), servers)
        chosen = windows.choose(series, contract, from_ms, to_ms, stride)
        if not chosen:
            raise SystemExit("no window to judge: see --from, --to and --servers")
        truth = cls(contract, series, chosen)
        for metric, name in enumerate(contract.names):
            truth.metrics[name] = Metric.of(*windows.cut(series, chosen, contract, metric), contract)
        return truth

    def keys(self):
        issued = windows.issue_ms(self.series, self.chosen, self.contract)
        return [(self.series[i].server, int(at)) for (i, _), at in zip(self.chosen, issued)]


@dataclass
class Metric:
    actual: np.ndarray  # [windows, horizon] f64; NaN is not judged
    last: np.ndarray  # [windows, horizon, 3], as the other two
    yesterday: np.ndarray
    quantiles: np.ndarray
    has_yesterday: np.ndarray  # [windows, horizon]

    @classmethod
    def of(cls, context, actual, contract):
        # Where the metric has no value in the context, no naive forecast exists: left out for all.
        last = windows.last_values(context)
        actual = np.where(np.isfinite(last)[:, None], actual, np.nan).astype(np.float64)
        day = context[:, -contract.day :].astype(np.float64)
        known = np.isfinite(day[:, : actual.shape[1]])
        yesterday = np.where(known, day[:, : actual.shape[1]], last[:, None])
        # No value in the last 24 hours: the last value stands for their quantiles.
        taus = windows.quantiles(day, TAUS)
        taus = np.where(np.isfinite(taus), taus, last[:, None])
        wide = (*actual.shape, 3)
        return cls(
            actual,
            np.broadcast_to(last[:, None, None], wide),
            np.broadcast_to(yesterday[:, :, None], wide),
            np.broadcast_to(taus[:, None, :], wide),
            known,
        )


def pinball(actual, forecast):
    """Doubled pinball losses [windows, horizon, 3]; NaN where there is no actual."""
    tau = np.asarray(TAUS)
    d = actual[:, :, None] - forecast
    return 2 * np.maximum(tau * d, (tau - 1) * d)


def ratio(a, b):
    return float(a / b) if b > 0 and np.isfinite(a) else None


def mean(values):
    values = [v for v in values if v is not None]
    return float(np.mean(values)) if values else None


def per_server(ours, naive, groups):
    """Geometric mean over servers of wQL / wQL of the last-24-hours quantiles: within a server Σ|y| cancels."""
    ours, naive = np.bincount(groups, ours), np.bincount(groups, naive)
    judged = naive > 0
    if not judged.any():
        return None
    return float(np.exp(np.mean(np.log(np.clip(ours[judged] / naive[judged], *CLIP)))))


def judge_metric(metric, forecast, groups):
    """All figures of one metric; `forecast` is [windows, horizon, 3]."""
    actual = metric.actual
    there = np.isfinite(actual)
    size, points = np.abs(actual[there]).sum(), int(there.sum())
    losses = {n: pinball(actual, getattr(metric, n)) for n in ("last", "yesterday", "quantiles")}
    ours = pinball(actual, forecast)
    wql = lambda loss: ratio(np.nansum(loss) / len(TAUS), size)
    low, mid, high = (forecast[:, :, i] for i in range(3))
    error = np.abs(actual - mid)
    scaled = there & metric.has_yesterday
    naive = {"last": wql(losses["last"]), "yesterday": wql(losses["yesterday"]), "quantiles24h": wql(losses["quantiles"])}
    best = min((v for v in naive.values() if v is not None), default=None)
    own = wql(ours)
    return {
        "points": points,
        "wql": own,
        "ratio_best": ratio(own, best) if own is not None and best is not None else None,
        "per_server": per_server(np.nansum(ours, (1, 2)), np.nansum(losses["quantiles"], (1, 2)), groups),
        "coverage": ratio(((low <= actual) & (actual <= high))[there].sum(), points),
        "coverage_strict": ratio(((low < actual) & (actual < high))[there].sum(), points),
        "mae": ratio(error[there].sum(), points),
        "mase": ratio(error[scaled].sum(), np.abs(actual - metric.yesterday[:, :, 0])[scaled].sum()),
        "naive": naive,
    }


def judge(truth, forecasts):
    """`forecasts`: {metric: [windows, horizon, 3]} in the order of `truth.chosen`."""
    groups = np.array([i for i, _ in truth.chosen])
    metrics = {name: judge_metric(metric, forecasts[name], groups) for name, metric in truth.metrics.items()}
    pooled = {
        "wql_ratio_best": mean(m["ratio_best"] for m in metrics.values()),
        "per_server": mean(m["per_server"] for m in metrics.values()),
        "mase": mean(m["mase"] for m in metrics.values()),
        "coverage": mean(m["coverage"] for m in metrics.values()),
        "coverage_strict": mean(m["coverage_strict"] for m in metrics.values()),
    }
    return {"windows": len(truth.chosen), "metrics": metrics, "pooled": pooled}


def read_forecasts(path, truth):
    """A forecast file in the order of the truth's windows. Refuses other windows than those, and values that are none."""
    table = pq.read_table(path)
    text = lambda column: table[column].to_numpy(zero_copy_only=False).astype(str)
    issued = rollups.milliseconds(table["issued_at"])
    servers, server = np.unique(text("server"), return_inverse=True)
    windows_there, window = np.unique(np.stack([server, issued]), axis=1, return_inverse=True)
    there = [(str(servers[s]), int(t)) for s, t in windows_there.T]
    wanted = {key: place for place, key in enumerate(truth.keys())}
    missing, extra = wanted.keys() - set(there), set(there) - wanted.keys()
    if missing or extra:
        say = lambda keys: f"{len(keys)}" + (f", first {min(keys)}" if keys else "")
        raise SystemExit(f"{path}: not the windows of the rules: missing {say(missing)}; too many {say(extra)}")
    place = np.array([wanted[key] for key in there])[window.reshape(-1)]
    step, metric = table["step"].to_numpy() - 1, text("metric")
    forecasts = {}
    for name in truth.contract.names:
        rows = metric == name
        values = np.full((len(wanted), truth.contract.horizon, 3), np.nan)
        for at, column in enumerate(("p10", "p50", "p90")):
            values[place[rows], step[rows], at] = table[column].to_numpy()[rows]
        if not np.isfinite(values).all() or rows.sum() != values[:, :, 0].size:
            raise SystemExit(f"{path}: {name}: every window needs each of its {truth.contract.horizon} steps once, as numbers")
        forecasts[name] = values
    return forecasts


def flat(report):
    """The figures that both this judge and `forewarn eval --json` give."""
    shared = ("points", "wql", "mae", "mase", "coverage", "coverage_strict", "per_server")
    out = {"windows": report["windows"]}
    for name, m in report["metrics"].items():
        out |= {f"{name}.{key}": m[key] for key in shared}
        out |= {f"{name}.naive.{key}": value for key, value in m["naive"].items()}
    keys = ("wql_ratio_best", "per_server", "mase", "coverage", "coverage_strict")
    return out | {f"pooled.{key}": report["pooled"][key] for key in keys}


def disagreements(ours, program):
    """Lines for the figures that differ by more than the tolerance, absolute below 1 and relative above."""
    a, b, lines = flat(ours), flat(program), []
    for key, x in a.items():
        y = b[key]
        if (x is None) != (y is None) or (x is not None and abs(x - y) > TOLERANCE * max(1.0, abs(x))):
            lines.append(f"{key}: judge {x}, program {y}")
    return lines


def table(reports):
    """The bars' figures of all reports, as lines."""
    show = lambda value: "     –" if value is None else f"{value:6.3f}"
    columns = ("wql", "ratio_best", "per_server", "coverage", "coverage_strict", "mase")
    lines = [f"{'metric':<18}{'of':<12}{'wQL':>8}{'/naive':>8}{'/server':>8}{'cover':>8}{'strict':>8}{'MASE':>8}"]
    for metric in next(iter(reports.values()))["metrics"]:
        for name, report in reports.items():
            figures = report["metrics"][metric]
            lines.append(f"{metric:<18}{name:<12}" + "".join(f"  {show(figures[c])}" for c in columns))
    for name, report in reports.items():
        pooled = report["pooled"]
        figures = (None, *(pooled[c] for c in ("wql_ratio_best", "per_server", "coverage", "coverage_strict", "mase")))
        lines.append(f"{'mean':<18}{name:<12}" + "".join(f"  {show(v)}" for v in figures))
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="raw records, parquet")
    parser.add_argument("--from", dest="start", help="no forecast step starts before it")
    parser.add_argument("--to", help="all forecast steps end by it")
    parser.add_argument("--servers", help="file of names, one a line")
    parser.add_argument("--stride", type=int, default=96)
    parser.add_argument("--program", help="what `forewarn eval --json` printed for the first file")
    parser.add_argument("--json", help="write all figures there")
    parser.add_argument("forecasts", nargs="+", metavar="NAME=FORECASTS")
    args = parser.parse_args()
    contract = rollups.contract()
    data = rollups.read(args.data, contract)
    truth = Truth.of(data, contract, rollups.ms(args.start), rollups.ms(args.to), rollups.names(args.servers), args.stride)
    reports = {}
    for named in args.forecasts:
        name, _, path = named.rpartition("=")
        reports[name or path] = judge(truth, read_forecasts(path, truth))
    print(f"{len(truth.chosen)} windows")
    print("\n".join(table(reports)))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(reports, file, indent=1)
    if args.program:
        with open(args.program) as file:
            lines = disagreements(next(iter(reports.values())), json.load(file))
        print("\n".join(lines) or f"the program's figures agree to {TOLERANCE}")
        sys.exit(3 if lines else 0)


if __name__ == "__main__":
    main()
