"""Drift detectors and what is counted of them, against figures worked out by hand and SciPy. `benches/peers/run test`."""

import math
import tempfile
import unittest

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import stats

import detectors
import drift


def against(reference, *windows):
    """A reference, and windows of one size, as the detectors take them."""
    reference = detectors.Reference(np.array(reference, np.float32))
    values = np.array(windows, np.float32)
    ends = range(1, len(values) + 1)
    return reference, reference.look_up(values).windows(ends, 1)


class Detectors(unittest.TestCase):
    def test_by_hand(self):
        reference, windows = against([4, 2, 3, 1], [6, 2], [2, 6])
        # F − G: at 1: 1/4; just below 2: 1/4; at 2: 0; at 4: 1 − 1/2.
        np.testing.assert_allclose(reference.ks(windows), [0.5, 0.5])
        # |F − G|: 1/4 on 1–2, 0 on 2–3, 1/4 on 3–4, 1/2 on 4–6; the sd is √1.25.
        np.testing.assert_allclose(reference.wasserstein(windows), [1.5 / math.sqrt(1.25)] * 2)

    def test_psi_by_hand(self):
        # Ten values in each decile; the first window has half in the first and half in the last, the second one in each.
        reference, windows = against(range(100), [0, 0, 0, 1, 9, 98, 98, 99, 99, 200], range(5, 100, 10))
        halves = 2 * (0.5 - 0.1) * math.log(0.5 / 0.1) + 8 * (1e-4 - 0.1) * math.log(1e-4 / 0.1)
        np.testing.assert_allclose(reference.psi(windows), [halves, 0], atol=1e-12)

    def test_as_scipy(self):
        random = np.random.default_rng(5)
        for size, digits in [(24, 1), (300, 1), (700, 7)]:
            # One digit: with ties within and between the two.
            values = np.round(random.normal(50, 10, 12_000), digits).astype(np.float32)
            window = np.round(random.normal(51, 12, size), digits).astype(np.float32)
            reference, windows = against(values, window)
            scipy = stats.ks_2samp(values, window)
            self.assertAlmostEqual(reference.ks(windows)[0], scipy.statistic, places=12)
            p = stats.kstwo.sf(scipy.statistic, np.round(12_000 * size / (12_000 + size)))
            self.assertAlmostEqual(p, scipy.pvalue, places=12)
            self.assertAlmostEqual(reference.ks_critical(size, p), scipy.statistic, places=5)
            distance = stats.wasserstein_distance(values.astype(float), window.astype(float))
            self.assertAlmostEqual(reference.wasserstein(windows)[0], distance / values.astype(float).std(), places=9)


class Fleet(unittest.TestCase):
    def test_a_window_is_the_last_hours_of_the_profile(self):
        # A server, three hours; each value is its step.
        fleet = drift.Fleet({(0, "m0"): np.arange(36, dtype=np.float32)[:, None]}, baseline_steps=12, steps_an_hour=12)
        np.testing.assert_array_equal(fleet.ends, [24, 36])
        np.testing.assert_array_equal(fleet.baseline((0, "m0"))[:, 0], np.arange(12))
        np.testing.assert_array_equal(fleet.window((0, "m0"), 0, 1), np.arange(12, 24))
        np.testing.assert_array_equal(fleet.window((0, "m0"), 1, 2), np.arange(12, 36))

    def test_servers_are_those_of_the_profile(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/fleet.parquet"
            columns = {"at_ms": [0, 0, 0, 1, 1, 1], "profile": [0, 1, 1] * 2, "m0": np.arange(6, dtype=np.float32)}
            pq.write_table(pa.table(columns), path)
            fleet = drift.Fleet.read(path, {"servers": 3, "step_ms": 300_000, "baseline_days": 1})
        self.assertEqual((fleet.baseline_steps, fleet.steps_an_hour), (288, 12))
        np.testing.assert_array_equal(fleet.cells[0, "m0"], [[0], [3]])
        np.testing.assert_array_equal(fleet.cells[1, "m0"], [[1, 2], [4, 5]])


class Figures(unittest.TestCase):
    def test_quiet(self):
        on = np.array([1, 1, 0, 1, 0, 0, 0, 0], bool)
        # Two runs in eight hours.
        self.assertEqual(drift.quiet(on), {"share": 3 / 8, "alarms_in_30_days": 2 * 90})

    def test_delay_is_counted_from_the_change(self):
        on = np.array([1, 0, 0, 1, 1], bool)
        # The change comes at the end of the second evaluation; two hours later it is seen.
        self.assertEqual(drift.shifted(on, 2), {"share_before": 0.5, "already": False, "delay_hours": 2})
        self.assertEqual(drift.shifted(on, 1), {"share_before": 1, "already": True, "delay_hours": 3})
        self.assertEqual(drift.shifted(on[:3], 2)["delay_hours"], None)

    def test_ours_is_on_from_the_first_to_the_last_evaluation_of_an_alarm(self):
        hour = 3_600_000
        said = {"judged_from_ms": 10 * hour, "alarms_ms": [[12 * hour - 300_000, 13 * hour]]}
        np.testing.assert_array_equal(drift.ours(said, 4), [False, True, True, False])

    def test_median_of_what_was_not_seen_is_not_seen(self):
        outcomes = [{"share_before": 0, "already": False, "delay_hours": hours} for hours in (2, 50, None)]
        outcomes.append({"share_before": 1, "already": True, "delay_hours": 1})
        self.assertEqual(drift.shifted_cells(outcomes), ["25.0%", "1 of 4", "1 of 3", "50 h"])
        outcomes[1]["delay_hours"] = None
        self.assertEqual(drift.shifted_cells(outcomes), ["25.0%", "1 of 4", "1 of 3", "not seen"])


if __name__ == "__main__":
    unittest.main()
