"""Fleets of the drift study, judged by what others use by default, beside what our detector says of the very same values.

    drift.py --study PROGRAM [--seeds 2] [--shifted 10] [--first 100] [--days 30] [--checks 1] [--json OUT.json] [--write FILE]

The study writes its fleets seed by seed (`drift_study export=DIR`); each is deleted when it was judged. Every hour each profile's
last hour and last 24 hours, all of its servers, are held against the 21 days of baseline: Evidently's data drift preset, plain
Kolmogorov-Smirnov, population stability index. `--write` puts the tables between the markers `<!-- peers -->` and
`<!-- /peers -->` of a file.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow.parquet as pq

import detectors

HOUR_MS = 3_600_000
WINDOWS = (1, 24)
# Evidently's defaults: a column has drifted from this normed Wasserstein distance on, a data set from this share of columns on.
EVIDENTLY_DISTANCE, EVIDENTLY_SHARE = 0.1, 0.5
KS_P = 0.05
PSI_LEVELS = (0.1, 0.2)
OURS = "forewarn"
SET, ANY = "Evidently, data set drift", "Evidently, any column"
KS = f"KS, p < {KS_P}"
PSI = [f"PSI > {level}" for level in PSI_LEVELS]
MARKERS = ("<!-- peers -->\n", "<!-- /peers -->")


@dataclass
class Fleet:
    cells: dict  # {(profile, metric): [steps, servers] f32}
    baseline_steps: int
    steps_an_hour: int

    @classmethod
    def read(cls, path, said):
        table = pq.read_table(path)
        profiles = table["profile"].to_numpy()[: said["servers"]]
        cells = {}
        for metric in (name for name in table.column_names if name.startswith("m")):
            values = table[metric].to_numpy().reshape(-1, profiles.size)
            cells |= {(int(profile), metric): values[:, profiles == profile] for profile in np.unique(profiles)}
        steps_an_hour = HOUR_MS // said["step_ms"]
        return cls(cells, said["baseline_days"] * 24 * steps_an_hour, steps_an_hour)

    @property
    def ends(self):
        """The step before which each evaluation's windows end: every hour after the baseline."""
        steps = len(next(iter(self.cells.values())))
        return range(self.baseline_steps + self.steps_an_hour, steps + 1, self.steps_an_hour)

    def baseline(self, cell):
        return self.cells[cell][: self.baseline_steps]

    def window(self, cell, evaluation, hours):
        end = self.ends[evaluation]
        return self.cells[cell][end - hours * self.steps_an_hour : end].ravel()


def parts(total, size):
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def judge(fleet, only_profile=None):
    """{(detector, hours): in alarm by evaluation}, and Evidently's distances {(profile, hours): {metric: by evaluation}}; of all
    profiles, or of one."""
    on = {(name, hours): np.zeros(len(fleet.ends), bool) for name in (SET, ANY, KS, *PSI) for hours in WINDOWS}
    distances = defaultdict(dict)
    for cell, values in fleet.cells.items():
        profile, metric = cell
        if only_profile not in (None, profile):
            continue
        reference = detectors.Reference(fleet.baseline(cell))
        looked = reference.look_up(values)
        for hours in WINDOWS:
            length = hours * fleet.steps_an_hour
            size = length * values.shape[1]
            critical = reference.ks_critical(size, KS_P)
            found = distances[profile, hours][metric] = np.empty(len(fleet.ends))
            # As many at a time as stay in the processor's cache.
            for part in parts(len(fleet.ends), max(1, 100_000 // size)):
                windows = looked.windows(fleet.ends[part], length)
                found[part] = reference.wasserstein(windows)
                on[KS, hours][part] |= reference.ks(windows) > critical
                psi = reference.psi(windows)
                for name, level in zip(PSI, PSI_LEVELS):
                    on[name, hours][part] |= psi > level
    for (_, hours), of_profile in distances.items():
        drifted = np.array(list(of_profile.values())) >= EVIDENTLY_DISTANCE
        on[SET, hours] |= drifted.mean(axis=0) >= EVIDENTLY_SHARE
        on[ANY, hours] |= drifted.any(axis=0)
    return on, distances


def check(fleet, distances, checks, seed):
    """Runs Evidently itself on a few windows: its distances and its flag must be those found here."""
    random = np.random.default_rng(seed)
    keys = list(distances)
    for _ in range(checks):
        profile, hours = keys[random.integers(len(keys))]
        evaluation = int(random.integers(len(fleet.ends)))
        found = {metric: by_evaluation[evaluation] for metric, by_evaluation in distances[profile, hours].items()}
        theirs, flag = evidently(
            {metric: fleet.window((profile, metric), evaluation, hours) for metric in found},
            {metric: fleet.baseline((profile, metric)).ravel() for metric in found},
        )
        drifted = np.mean([distance >= EVIDENTLY_DISTANCE for distance in found.values()]) >= EVIDENTLY_SHARE
        same = all(abs(found[metric] - theirs[metric]) < 1e-9 for metric in found)
        if not same or flag != drifted:
            raise SystemExit(f"profile {profile}, evaluation {evaluation}, {hours} h: Evidently says {theirs}, {flag}; here {found}, {drifted}")


def evidently(current, baseline):
    """What Evidently's data drift preset says, untouched: {column: distance}, and whether the data set has drifted."""
    # Not at the top: the tests do without.
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    current, baseline = (pd.DataFrame(columns, dtype=np.float64) for columns in (current, baseline))
    report = Report([DataDriftPreset()], include_tests=True).run(current, baseline).dict()
    columns = [metric for metric in report["metrics"] if "column" in metric["config"]]
    methods = {metric["config"]["method"] for metric in columns}
    if methods != {"Wasserstein distance (normed)"}:
        raise SystemExit(f"Evidently's default is another test now: {methods}")
    (share,) = (test for test in report["tests"] if test["name"].startswith("Share of Drifted Columns"))
    return {metric["config"]["column"]: metric["value"] for metric in columns}, share["status"].value == "FAIL"


def ours(said, evaluations):
    """Whether our alarm was on, at the same hours."""
    at = said["judged_from_ms"] + HOUR_MS * np.arange(1, evaluations + 1)
    return np.any([np.zeros(evaluations, bool)] + [(first <= at) & (at <= last) for first, last in said["alarms_ms"]], axis=0)


def quiet(on):
    rises = int(on[0]) + int((on[1:] & ~on[:-1]).sum())
    return {"share": float(on.mean()), "alarms_in_30_days": rises * 30 * 24 / on.size}


def shifted(on, change):
    """`change` evaluations end before or with the shift."""
    after = np.flatnonzero(on[change:])
    return {
        "share_before": float(on[:change].mean()),
        "already": bool(on[change - 1]),
        "delay_hours": int(after[0]) + 1 if after.size else None,
    }


def judge_file(path, checks):
    """What all detectors make of one fleet. Where it shifts, the peers look at the profile that does and at no other: they are
    not to alarm for another reason first."""
    said = json.loads(path.read_text())
    fleet = Fleet.read(path.with_suffix(".parquet"), said)
    changed = said["changed_at_ms"]
    on, distances = judge(fleet, None if changed is None else said["changed_profile"])
    check(fleet, distances, checks, said["seed"])
    on[OURS, None] = ours(said, len(fleet.ends))
    if changed is None:
        figures = {key: quiet(alarm) for key, alarm in on.items()}
    else:
        change = (changed - said["judged_from_ms"]) // HOUR_MS
        figures = {key: shifted(alarm, change) for key, alarm in on.items()}
    print(f"{path.stem}: judged", file=sys.stderr, flush=True)
    return {"servers": said["servers"], "rho": said["rho"], "season": said["season"], "seed": said["seed"], "figures": figures}


def judge_exported(study, arguments, checks):
    """Has the study write fleets, and judges each of them."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([study, f"export={folder}", *arguments], check=True, stderr=subprocess.DEVNULL)
        paths = sorted(Path(folder).glob("*.json"))
        with ProcessPoolExecutor(2) as pool:
            return list(pool.map(partial(judge_file, checks=checks), paths))


def rows(runs, cells):
    """Lines of a table: one for each detector and window, ours first; `cells` gives its columns."""
    keys = sorted(runs[0]["figures"], key=lambda key: key[0] != OURS)
    for name, hours in keys:
        window = "its own" if hours is None else f"{hours} h"
        yield f"| {name} | {window} | " + " | ".join(cells((name, hours))) + " |"


def head(*columns):
    return ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]


def fleet_of(run):
    return f"{run['servers']} servers, ρ = {run['rho']:g}, season: {run['season']}"


def quiet_table(runs):
    runs = sorted(runs, key=lambda run: (-run["servers"], run["rho"], len(run["season"])))
    fleets = list(dict.fromkeys(map(fleet_of, runs)))

    def cells(key):
        for fleet in fleets:
            found = [run["figures"][key] for run in runs if fleet_of(run) == fleet]
            mean = lambda figure: float(np.mean([figures[figure] for figures in found]))
            yield f"{mean('alarms_in_30_days'):.2f} ({mean('share'):.1%})"

    return head("detector", "window", *fleets) + list(rows(runs, cells))


def shifted_cells(outcomes):
    before = float(np.mean([o["share_before"] for o in outcomes]))
    others = [np.inf if o["delay_hours"] is None else o["delay_hours"] for o in outcomes if not o["already"]]
    seen = sum(hours <= 48 for hours in others)
    middle = median(others) if others else None
    delay = "–" if middle is None else f"{middle:g} h" if np.isfinite(middle) else "not seen"
    return [f"{before:.1%}", f"{len(outcomes) - len(others)} of {len(outcomes)}", f"{seen} of {len(others)}", delay]


def shifted_table(runs):
    cells = lambda key: shifted_cells([run["figures"][key] for run in runs])
    columns = ("in alarm on the day before", "in alarm when it came", "of the others, seen within 48 h", "their median delay")
    return head("detector", "window", *columns) + list(rows(runs, cells))


def write(path, text):
    held = Path(path).read_text()
    begin, end = MARKERS
    if begin not in held or end not in held:
        raise SystemExit(f"{path}: no markers {begin.strip()} and {end}")
    before, rest = held.split(begin, 1)
    Path(path).write_text(before + begin + text + end + rest.split(end, 1)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="the program drift_study")
    parser.add_argument("--seeds", type=int, default=2, help="of each quiet fleet")
    parser.add_argument("--shifted", type=int, default=10, help="seeds of the fleet that shifts")
    parser.add_argument("--first", type=int, default=100, help="the first seed")
    parser.add_argument("--days", type=int, default=30, help="quiet days that are judged")
    parser.add_argument("--checks", type=int, default=1, help="windows of each fleet that Evidently itself judges, too")
    parser.add_argument("--json", help="write all figures there")
    parser.add_argument("--write", help="put the tables between the markers of this file")
    args = parser.parse_args()
    calm = []
    for seed in range(args.first, args.first + args.seeds):
        calm += judge_exported(args.study, ["only=quiet", f"first={seed}", "seeds=1", f"days={args.days}"], args.checks)
    moved = judge_exported(args.study, ["only=change", f"first={args.first}", f"seeds={args.shifted}"], args.checks)
    windows = args.checks * (len(calm) + len(moved))
    lines = [
        f"Alarms in 30 quiet days, and the share of hourly evaluations that are in alarm; mean over {args.seeds} seeds, {args.days} days each:",
        "",
        *quiet_table(calm),
        "",
        f"1 sd in one metric of 25 servers ({fleet_of(moved[0])}), {args.shifted} seeds; the peers look at the profile that shifts alone:",
        "",
        *shifted_table(moved),
        "",
        f"Evidently {version('evidently')} itself was run on {windows} of these windows: the same distances and flags.",
        "",
    ]
    text = "\n".join(lines)
    print(text)
    if args.json:
        named = lambda run: run | {"figures": {f"{name} {hours or ''}".strip(): f for (name, hours), f in run["figures"].items()}}
        Path(args.json).write_text(json.dumps({"quiet": [named(r) for r in calm], "shifted": [named(r) for r in moved]}, indent=1))
    if args.write:
        write(args.write, text)


if __name__ == "__main__":
    main()
