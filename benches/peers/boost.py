"""The gradient-boosted peer: LightGBM's quantile objective on hand-made features, one model per metric and quantile.

    boost.py --data RECORDS --protocol own|unseen|unseen-all|validation --out FORECASTS [--days 30] [--seed 1]

Trains on the protocol's training rows and writes its forecasts in the columns of `forewarn eval --out`.
"""

import argparse
import json
import multiprocessing
import time

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import features
import judge
import rollups
import windows
from protocols import PROTOCOLS

STATIC = ("cpu_cores", "mem_capacity_mb")
# Processes of one thread each, a metric at a time: on a busy machine far faster than threads that wait for each other.
THREADS = 2
# Training windows, spread evenly over the servers' hours, and random steps taken of each.
TRAIN_STRIDE, TRAIN_WINDOWS, STEPS_PER_WINDOW = 12, 12_000, 6
SETTINGS = {
    "objective": "quantile",
    "learning_rate": 0.1,
    "num_leaves": 31,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
ROUNDS = 60


def training_windows(data, protocol, contract, args):
    end = rollups.ms(protocol.train_to)
    series = rollups.only(rollups.until(data, end, contract), protocol.servers("train"))
    newest = max(s.start_ms + s.steps * contract.step_ms for s in series)
    chosen = windows.choose(series, contract, newest - args.days * 86_400_000, end, TRAIN_STRIDE)
    kept = np.random.default_rng(args.seed).permutation(len(chosen))[: args.windows]
    return series, [chosen[at] for at in sorted(kept)]


def sample(given, metric, rng):
    """(window, step) of the training rows: some steps of each window, those with an actual and a known scale."""
    num, horizon = given.actual[metric].shape
    window = np.repeat(np.arange(num), STEPS_PER_WINDOW)
    step = rng.integers(0, horizon, len(window))
    there = np.isfinite(given.actual[metric][window, step]) & np.isfinite(given.scales[metric][1][window])
    return window[there], step[there]


def squash(z):
    """Monotone, so that quantiles stay quantiles; without it a few spikes of a thousand spreads would decide the splits."""
    return np.arcsinh(z)


def starts(given, metric):
    """[windows, taus]: boosting starts at the quantiles of the last 24 h, the naive forecast that it has to beat."""
    level, scale = (part[:, None] for part in given.scales[metric])
    return squash((windows.quantiles(given.context[metric], judge.TAUS) - level) / scale)


def train_metric(given, metric, args):
    rng = np.random.default_rng([args.seed, metric])
    window, step = sample(given, metric, rng)
    level, scale = (part[window] for part in given.scales[metric])
    target = squash((given.actual[metric][window, step] - level) / scale)
    names = features.names(len(given.context))
    rows = given.rows(metric, window, step)
    settings = SETTINGS | {"seed": args.seed}
    models = []
    for tau, start in zip(judge.TAUS, starts(given, metric).T):
        data = lightgbm.Dataset(rows, target, init_score=start[window], feature_name=names)
        models.append(lightgbm.train(settings | {"alpha": tau}, data, args.rounds))
    return models


def forecast_metric(models, given, metric, contract):
    """[windows, horizon, 3], raw units, in order and inside the valid range."""
    num, horizon = len(given.chosen), contract.horizon
    rows = given.rows(metric, np.repeat(np.arange(num), horizon), np.tile(np.arange(horizon), num))
    level, scale = given.scales[metric]
    learned = np.stack([m.predict(rows, num_threads=1) for m in models], axis=1).reshape(num, horizon, len(models))
    z = np.sinh(starts(given, metric)[:, None, :] + learned)
    raw = np.sort(level[:, None, None] + scale[:, None, None] * z, axis=2)
    limits = contract.metrics[metric]
    # No value in the context, no scale: such points are not judged, but a forecast has to be a number.
    return np.clip(np.nan_to_num(raw), limits.get("min", -np.inf), limits.get("max", np.inf)).astype(np.float32)


def run_metric(metric):
    """One metric from training to forecast, in a worker: `shared` came with the fork."""
    given, asked, contract, args = shared
    begun = time.monotonic()
    forecast = forecast_metric(train_metric(given, metric, args), asked, metric, contract)
    print(f"{contract.names[metric]}: {time.monotonic() - begun:.0f} s", flush=True)
    return forecast


def run_metrics(*inputs):
    global shared
    shared = inputs
    names = inputs[2].names
    with multiprocessing.get_context("fork").Pool(THREADS) as pool:
        return dict(zip(names, pool.map(run_metric, range(len(names)), chunksize=1)))


def write(path, truth, forecasts):
    contract, keys = truth.contract, truth.keys()
    num, horizon, metrics = len(keys), contract.horizon, len(contract.metrics)
    each = horizon * metrics
    values = np.stack([forecasts[name] for name in contract.names], axis=2).reshape(num * each, 3)  # window, step, metric
    servers = pa.array([server for server, _ in keys]).take(np.repeat(np.arange(num), each))
    metric = pa.array(contract.names).take(np.tile(np.arange(metrics), num * horizon))
    columns = {
        "server": servers,
        "issued_at": pa.array(np.repeat([at for _, at in keys], each), pa.int64()).cast(pa.timestamp("ms", "UTC")),
        "step": pa.array(np.tile(np.repeat(np.arange(1, horizon + 1), metrics), num), pa.int32()),
        "metric": metric,
    }
    columns |= {name: pa.array(values[:, at]) for at, name in enumerate(("p10", "p50", "p90"))}
    pq.write_table(pa.table(columns), path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--protocol", required=True, choices=PROTOCOLS)
    parser.add_argument("--out", required=True)
    parser.add_argument("--json", help="write the judge's figures there")
    parser.add_argument("--days", type=int, default=30, help="train on the last days before the border")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--windows", type=int, default=TRAIN_WINDOWS, help="training windows at most")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    begun = time.monotonic()
    protocol, contract = PROTOCOLS[args.protocol], rollups.contract()
    data = rollups.read(args.data, contract, STATIC)
    series, chosen = training_windows(data, protocol, contract, args)
    floor = features.floors(series, len(contract.metrics))
    given = features.Windows(series, chosen, contract, floor)
    bounds = (rollups.ms(protocol.test_from), rollups.ms(protocol.test_to))
    truth = judge.Truth.of(data, contract, *bounds, protocol.servers("test"))
    asked = features.Windows(truth.series, truth.chosen, contract, floor)
    print(f"{protocol.what}: {len(chosen)} training windows, {len(truth.chosen)} forecasts", flush=True)
    forecasts = run_metrics(given, asked, contract, args)
    write(args.out, truth, forecasts)
    report = judge.judge(truth, judge.read_forecasts(args.out, truth))
    print("\n".join(judge.table({"lightgbm": report})))
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"lightgbm": report, "seconds": time.monotonic() - begun}, file, indent=1)


if __name__ == "__main__":
    main()
