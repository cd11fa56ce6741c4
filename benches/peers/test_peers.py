"""The judge against figures computed by hand. `benches/peers/run test`."""

import unittest

import numpy as np

import features
import judge
import rollups
import split
import windows

STEP = 300_000
START = 1_376_956_800_000  # 2013-08-20T00:00:00Z


def contract(context=4, horizon=2, metrics=1):
    return rollups.Contract([{"name": f"m{i}", "min": 0, "max": 100, "tolerance": 10} for i in range(metrics)], STEP, context, horizon, "UTC")


def series(values, server="a"):
    return rollups.Series(server, START, np.array([values], np.float32), np.zeros(0, np.float32))


class Rollups(unittest.TestCase):
    def test_values_are_clamped_or_cut(self):
        metric = {"min": 0, "max": 100, "tolerance": 10}
        cleaned = rollups.clean(np.array([110, 110.1, -0.1, np.inf, 50, np.nan], np.float32), metric)
        np.testing.assert_array_equal(cleaned, np.array([100, np.nan, np.nan, np.nan, 50, np.nan], np.float32))

    def test_until_drops_what_starts_at_the_border_and_gaps_before_it(self):
        (kept,) = rollups.until([series([1, 2, np.nan, 4])], START + 3 * STEP, contract())
        np.testing.assert_array_equal(kept.values, [[1, 2]])
        self.assertEqual(rollups.until([series([1])], START, contract()), [])


class Windows(unittest.TestCase):
    def check(self, values, expected, **given):
        found = windows.choose([series(values)], contract(context=20, horizon=2), **given)
        self.assertEqual([issue for _, issue in found], expected)

    def test_twelve_rows_come_before_and_the_horizon_ends_by_the_data(self):
        self.check(np.ones(16), [12, 14], stride=2)
        self.check(np.ones(16), [12], to_ms=START + 15 * STEP, stride=2)
        self.check(np.ones(13), [])

    def test_the_grid_starts_in_the_range(self):
        self.check(np.ones(19), [13, 15, 17], from_ms=START + 13 * STEP - 1, stride=2)

    def test_a_window_without_actuals_is_none_but_keeps_the_grid(self):
        values = np.ones(20)
        values[14:17] = np.nan
        self.check(values, [12, 16, 18], stride=2)

    def test_quantiles_interpolate_over_what_is_there(self):
        rows = np.array([[3, np.nan, 1, 2], [np.nan] * 4, [7, np.nan, np.nan, np.nan]], np.float32)
        np.testing.assert_allclose(windows.quantiles(rows, (0.1, 0.5, 0.9)), [[1.2, 2, 2.8], [np.nan] * 3, [7, 7, 7]])


class Figures(unittest.TestCase):
    def setUp(self):
        # A day of 4 buckets is the context here: contract.day is larger, so all of the context counts.
        context = np.array([[1, 2, 3, 4], [np.nan, 0, 0, 0]], np.float32)
        actual = np.array([[5, np.nan], [1, 0]], np.float32)
        self.metric = judge.Metric.of(context, actual, contract())

    def test_naive_forecasts(self):
        np.testing.assert_array_equal(self.metric.last[:, 0, 0], [4, 0])
        # Missing yesterday: the last value.
        np.testing.assert_array_equal(self.metric.yesterday[:, :, 0], [[1, 2], [0, 0]])
        np.testing.assert_allclose(self.metric.quantiles[0, 0], [1.3, 2.5, 3.7])

    def test_figures(self):
        # Points: 5 (window a), 1 and 0 (window b). Forecasts P10, P50, P90 per point:
        forecast = np.array([[[4, 5, 6], [0, 0, 0]], [[0, 0, 1], [0, 1, 2]]], float)
        found = judge.judge_metric(self.metric, forecast, np.array([0, 1]))
        # Doubled pinball: a: .2·1 + 0 + .2·1; b: (.2·1 + 1·1 + 0), (0 + 1·1 + .2·2).
        loss_a, loss_b = 0.4, 1.2 + 1.4
        self.assertAlmostEqual(found["wql"], (loss_a + loss_b) / 3 / 6)
        # Last value: a misses by 1 at every quantile: 2·1·(.1 + .5 + .9) = 3; b: 3 and 0.
        self.assertAlmostEqual(found["naive"]["last"], 6 / 3 / 6)
        # Quantiles: a: .2·3.7 + 1·2.5 + 1.8·1.3 = 5.58; b: 3.
        self.assertAlmostEqual(found["naive"]["quantiles24h"], 8.58 / 3 / 6)
        self.assertAlmostEqual(found["ratio_best"], (loss_a + loss_b) / 6)
        self.assertAlmostEqual(found["per_server"], np.sqrt(loss_a / 5.58 * loss_b / 3))
        self.assertEqual(found["points"], 3)
        # Inclusive: 5, 1 and 0 are inside; strictly only 5.
        self.assertAlmostEqual(found["coverage"], 1)
        self.assertAlmostEqual(found["coverage_strict"], 1 / 3)
        # Yesterday is there for 5 (1) and for b's second point (0): |5−5| + |0−1| over |5−1| + |0−0|.
        self.assertAlmostEqual(found["mase"], 1 / 4)

    def test_a_window_without_context_is_left_out_for_all(self):
        metric = judge.Metric.of(np.full((1, 4), np.nan, np.float32), np.ones((1, 2), np.float32), contract())
        self.assertEqual(judge.judge_metric(metric, np.zeros((1, 2, 3)), np.zeros(1, int))["points"], 0)

    def test_a_ratio_per_server_is_clipped(self):
        self.assertAlmostEqual(judge.per_server(np.array([100.0, 1.0]), np.array([1.0, 0.0]), np.array([0, 1])), 20)


class Split(unittest.TestCase):
    def test_recreations_stay_on_one_side(self):
        servers = [f"vm{i:04}{x}" for i in range(40) for x in ("", "x8")]
        train, test = split.split(servers)
        self.assertEqual(len(test), 2 * split.NUM_TEST)
        self.assertFalse({split.machine(s) for s in train} & {split.machine(s) for s in test})


class Features(unittest.TestCase):
    def test_names_are_those_of_the_columns(self):
        shape = contract(context=288, horizon=96, metrics=2)
        values = np.random.default_rng(1).random((2, 500)).astype(np.float32)
        one = rollups.Series("a", START, values, np.array([2, 1024], np.float32))
        given = features.Windows([one], [(0, 300), (0, 310)], shape, [0.01, 0.01])
        rows = given.rows(0, np.array([0, 1]), np.array([0, 5]))
        names = features.names(2)
        self.assertEqual(rows.shape, (2, len(names)))
        column = lambda name: rows[:, names.index(name)]
        level, scale = given.scales[0]
        relative = lambda value, window: (value - level[window]) / scale[window]
        self.assertAlmostEqual(column("last")[0], relative(values[0, 299], 0), places=5)
        self.assertAlmostEqual(column("yesterday")[1], relative(values[0, 310 - 288 + 5], 1), places=5)
        # 2013-08-20 was a Tuesday; 300 buckets of 5 minutes later it is 01:00 of Wednesday.
        self.assertEqual((column("hour")[0], column("weekday")[0], column("weekend")[0]), (1, 2, 0))
        self.assertEqual(list(column("cores")), [2, 2])


if __name__ == "__main__":
    unittest.main()
