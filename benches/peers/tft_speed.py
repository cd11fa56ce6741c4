"""The speed of pytorch-forecasting's step-by-step TFT, beside `forewarn bench model` in the same run.

    tft_speed.py [--seconds 20] [--forewarn PATH] [--json OUT.json]

14 targets, 288 steps of context, 96 of horizon, batch 64, 90,000 to 200,000 parameters, 2 threads, synthetic data. Training is
forward, loss, backward, clip and Adam step over batches that were made before, so that its data loader does not count against
it; the loader's own speed stands beside it. Inference is one forward pass without a graph and the quantiles of its output.
"""

import argparse
import itertools
import json
import logging
import os
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
import torch
from pytorch_forecasting import MultiNormalizer, QuantileLoss, TemporalFusionTransformer, TimeSeriesDataSet
from pytorch_forecasting.data import GroupNormalizer
from pytorch_forecasting.metrics import MultiLoss

THREADS, BATCH, TARGETS, CONTEXT, HORIZON = 2, 64, 14, 288, 96
SERVERS, STEPS = 90, CONTEXT + HORIZON + 288
MIN_PARAMETERS, MAX_PARAMETERS = 90_000, 200_000
WARM_UP = 2  # passes before the clock starts
NUM_BATCHES = 4


def fleet(seed):
    """Daily curves with noise: values do not matter for speed, shapes do."""
    rng = np.random.default_rng(seed)
    step, server = np.tile(np.arange(STEPS), SERVERS), np.repeat(np.arange(SERVERS), STEPS)
    frame = {"server": server.astype(str), "profile": (server % 7).astype(str), "step": step}
    frame |= {"hour": (step % 288 / 12).astype(np.float32), "weekday": (step // 288 % 7).astype(np.float32)}
    wave = np.sin(2 * np.pi * step / 288 + server)
    for target in range(TARGETS):
        frame[f"m{target:02}"] = (50 + 10 * wave + rng.normal(0, 5, len(step))).astype(np.float32)
    return pd.DataFrame(frame)


def dataset(seed):
    targets = [f"m{target:02}" for target in range(TARGETS)]
    return TimeSeriesDataSet(
        fleet(seed),
        time_idx="step",
        target=targets,
        group_ids=["server"],
        max_encoder_length=CONTEXT,
        max_prediction_length=HORIZON,
        static_categoricals=["server", "profile"],
        time_varying_known_reals=["hour", "weekday"],
        time_varying_unknown_reals=targets,
        target_normalizer=MultiNormalizer([GroupNormalizer(groups=["server"]) for _ in targets]),
    )


def network(data, hidden, seed):
    torch.manual_seed(seed)
    return TemporalFusionTransformer.from_dataset(
        data,
        hidden_size=hidden,
        hidden_continuous_size=8,
        attention_head_size=4,
        dropout=0.1,
        output_size=[3] * TARGETS,
        loss=MultiLoss([QuantileLoss([0.1, 0.5, 0.9]) for _ in range(TARGETS)]),
        log_interval=-1,
    )


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def timed(work, seconds):
    """Seconds of each call of `work`, called for `seconds`."""
    for _ in range(WARM_UP):
        work()
    begun, calls = time.perf_counter(), []
    while not calls or time.perf_counter() - begun < seconds:
        at = time.perf_counter()
        work()
        calls.append(time.perf_counter() - at)
    return np.array(calls)


def train_step(model, batches):
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    order = itertools.cycle(batches)

    def step():
        x, y = next(order)
        optimiser.zero_grad(set_to_none=True)
        loss = model.loss(model(x)["prediction"], y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return step


def forecast(model, x):
    with torch.inference_mode():
        return model.to_quantiles(model(x))


def peer(args):
    torch.set_num_threads(THREADS)
    data = dataset(args.seed)
    loader = iter(data.to_dataloader(train=True, batch_size=BATCH, num_workers=0))
    begun = time.perf_counter()
    batches = [next(loader) for _ in range(NUM_BATCHES)]
    loading = (time.perf_counter() - begun) / NUM_BATCHES
    model = network(data, args.hidden, args.seed)
    if not MIN_PARAMETERS <= parameters(model) <= MAX_PARAMETERS:
        raise SystemExit(f"--hidden {args.hidden}: {parameters(model)} parameters, expected {MIN_PARAMETERS} to {MAX_PARAMETERS}")
    training = timed(train_step(model.train(), batches), args.seconds)
    model.eval()
    full = batches[0][0]
    one = next(iter(data.to_dataloader(train=False, batch_size=1, num_workers=0)))[0]
    batch = timed(lambda: forecast(model, full), args.seconds)
    single = timed(lambda: forecast(model, one), args.seconds) * 1000
    return {
        "train_samples_per_second": BATCH / training.mean(),
        "load_samples_per_second": BATCH / loading,
        "predict_servers_per_second": BATCH / batch.mean(),
        "predict_latency_ms_p50": float(np.quantile(single, 0.5)),
        "predict_latency_ms_p99": float(np.quantile(single, 0.99)),
        "parameters": parameters(model),
        "device": f"cpu, {THREADS} threads, torch {torch.__version__}",
    }


def ours(program, seconds):
    """What `forewarn bench model` prints; None, with the reason on stderr, where the program is not there or has no such command."""
    command = [program, "bench", "model", "--batch", str(BATCH), "--seconds", str(seconds), "--json"]
    # The same two threads, whatever the machine has.
    pinned = os.environ | {"RAYON_NUM_THREADS": str(THREADS)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=pinned)
    except OSError as error:
        print(f"{program}: {error}: build it with `cargo build --release -p forewarn` or name it with --forewarn", file=sys.stderr)
        return None
    if done.returncode != 0:
        print(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}: no figures of ours", file=sys.stderr)
        return None
    return json.loads(done.stdout)


BARS = {  # figure: (what, times ours must be better, whether more is better)
    "train_samples_per_second": ("training, samples/s", 4, True),
    "predict_servers_per_second": ("inference, servers/s", 6, True),
    "predict_latency_ms_p50": ("latency of one server, ms", 6, False),
}


def compare(peer, ours):
    ratios = {}
    print(f"{'what':<28}{'peer':>10}{'forewarn':>10}{'ratio':>8}{'bar':>6}")
    for key, (what, bar, more) in BARS.items():
        own = None if ours is None else ours[key]
        ratios[key] = None if own is None else (own / peer[key] if more else peer[key] / own)
        show = lambda value, digits=1: "–" if value is None else f"{value:.{digits}f}"
        print(f"{what:<28}{show(peer[key]):>10}{show(own):>10}{show(ratios[key]):>8}{bar:>5}×")
    print(f"parameters: peer {peer['parameters']}, forewarn {'–' if ours is None else ours['parameters']}")
    return ratios


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20, help="for each figure")
    parser.add_argument("--hidden", type=int, default=40, help="hidden size of the peer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--forewarn", default="forewarn", help="the program, built for release")
    parser.add_argument("--json", help="write all figures there")
    args = parser.parse_args()
    if (load := os.getloadavg()[0]) > 1:
        print(f"load average {load:.1f}: the machine is busy, the figures say little", file=sys.stderr)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning").setLevel(logging.ERROR)
    figures = {"peer": peer(args), "forewarn": ours(args.forewarn, args.seconds)}
    figures["ratio"] = compare(figures["peer"], figures["forewarn"])
    if args.json:
        with open(args.json, "w") as file:
            json.dump(figures, file, indent=1)
    sys.exit(0 if figures["forewarn"] else 3)


if __name__ == "__main__":
    main()
