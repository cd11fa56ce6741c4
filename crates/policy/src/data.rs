//! Whether there is enough data to train on.

/// Rows below which a training is not worth while, whatever its preset says.
const SKIP_BELOW_ROWS: u64 = 1_000;
/// Rows that a training should have.
const ENOUGH_ROWS: u64 = 100_000;
/// Days that a training should have: four of each day of the week.
const ENOUGH_DAYS: f64 = 28.0;
/// Share of rows missing from the servers' own spans above which data are thin: what a network loses now and then is less.
const MANY_GAPS: f64 = 0.1;
/// From here on more is missing than there is.
const MOST_GAPS: f64 = 0.5;
/// Share of servers silent by now above which data are thin: the drift report warns from there on too.
const MANY_MISSING: f64 = 0.1;
/// From here on what is left does not stand for the fleet.
const MOST_MISSING: f64 = 0.5;

/// What there is to train on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DataFacts {
    /// Rows.
    pub rows: u64,
    /// From the first row to the last, days.
    pub days: f64,
    /// Share of rows missing between each server's first and last, 0–1.
    pub gaps: f64,
    /// Share of the last day's servers without a row in its last hour, 0–1.
    pub missing: f64,
}

/// What a preset asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DataNeeds {
    /// Rows without which it does not begin.
    pub rows: u64,
    /// Days without which it does not begin.
    pub days: f64,
    /// Days that it reads, where there are as many.
    pub wanted_days: f64,
}

/// What the data are good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataCheck {
    /// Enough.
    Enough,
    /// Less than there should be, but what the preset needs; why.
    Thin(String),
    /// Not worth a training; why.
    Skip(String),
}

/// Checks data against 100,000 rows and 28 days, or the preset's own where those are fewer.
#[must_use]
pub fn check_data(facts: &DataFacts, needs: &DataNeeds) -> DataCheck {
    let least_rows = needs.rows.clamp(SKIP_BELOW_ROWS, ENOUGH_ROWS);
    let least_days = needs.days.min(ENOUGH_DAYS);
    let skip = lacks(
        facts,
        (least_rows, least_days),
        (MOST_GAPS, MOST_MISSING),
        "at most",
    );
    if !skip.is_empty() {
        return DataCheck::Skip(skip.join(" and "));
    }
    let days = needs.wanted_days.clamp(least_days, ENOUGH_DAYS);
    let thin = lacks(
        facts,
        (ENOUGH_ROWS, days),
        (MANY_GAPS, MANY_MISSING),
        "usual is at most",
    );
    if thin.is_empty() {
        DataCheck::Enough
    } else {
        DataCheck::Thin(thin.join(" and "))
    }
}

/// What does not reach `rows` and `days`, or is above `gaps` and `missing`. A number that is none reaches nothing.
fn lacks(
    facts: &DataFacts,
    (rows, days): (u64, f64),
    (gaps, missing): (f64, f64),
    bound: &str,
) -> Vec<String> {
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let mut lacks = Vec::new();
    if facts.rows < rows {
        lacks.push(format!("{} of {rows} rows", facts.rows));
    }
    // By what is shown: a bucket less than seven days are seven days.
    if facts.days.is_nan() || tenths(facts.days) < tenths(days) {
        lacks.push(format!("{:.1} of {days:.1} days", facts.days));
    }
    if facts.gaps.is_nan() || facts.gaps > gaps {
        let found = percent(facts.gaps);
        lacks.push(format!(
            "gaps in {found} of the rows ({bound} {})",
            percent(gaps)
        ));
    }
    if facts.missing.is_nan() || facts.missing > missing {
        let found = percent(facts.missing);
        lacks.push(format!(
            "{found} of the servers silent ({bound} {})",
            percent(missing)
        ));
    }
    lacks
}

fn tenths(days: f64) -> f64 {
    (10.0 * days).round()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three days of five servers, as the smallest preset has it, and what a large one asks for.
    const SMALL: DataNeeds = DataNeeds {
        rows: 2_160,
        days: 3.0,
        wanted_days: 7.0,
    };
    const LARGE: DataNeeds = DataNeeds {
        rows: 500_000,
        days: 60.0,
        wanted_days: 90.0,
    };
    const GOOD: DataFacts = DataFacts {
        rows: 100_000,
        days: 28.0,
        gaps: 0.1,
        missing: 0.1,
    };

    fn thin(words: &str) -> DataCheck {
        DataCheck::Thin(words.to_owned())
    }

    fn skip(words: &str) -> DataCheck {
        DataCheck::Skip(words.to_owned())
    }

    #[track_caller]
    fn check(facts: DataFacts, needs: &DataNeeds, expected: DataCheck) {
        assert_eq!(check_data(&facts, needs), expected);
    }

    #[test]
    fn the_limits_are_the_preset_s_where_those_are_smaller() {
        check(GOOD, &SMALL, DataCheck::Enough);
        check(GOOD, &LARGE, DataCheck::Enough);
        let rows = |rows| DataFacts { rows, ..GOOD };
        check(rows(99_999), &SMALL, thin("99999 of 100000 rows"));
        check(rows(99_999), &LARGE, skip("99999 of 100000 rows"));
        check(rows(2_160), &SMALL, thin("2160 of 100000 rows"));
        check(rows(2_159), &SMALL, skip("2159 of 2160 rows"));
        let none = DataNeeds { rows: 0, ..SMALL };
        check(rows(1_000), &none, thin("1000 of 100000 rows"));
        check(rows(999), &none, skip("999 of 1000 rows"));
        let days = |days| DataFacts { days, ..GOOD };
        check(days(27.9), &LARGE, skip("27.9 of 28.0 days"));
        // What it would not read anyway is not asked for.
        check(days(6.997), &SMALL, DataCheck::Enough);
        check(days(6.9), &SMALL, thin("6.9 of 7.0 days"));
        check(days(2.9), &SMALL, skip("2.9 of 3.0 days"));
        check(days(f64::NAN), &SMALL, skip("NaN of 3.0 days"));
    }

    #[test]
    fn gaps_and_silent_servers() {
        let gaps = |gaps| DataFacts { gaps, ..GOOD };
        check(
            gaps(0.12),
            &SMALL,
            thin("gaps in 12 % of the rows (usual is at most 10 %)"),
        );
        check(
            gaps(0.51),
            &SMALL,
            skip("gaps in 51 % of the rows (at most 50 %)"),
        );
        let missing = |missing| DataFacts { missing, ..GOOD };
        check(
            missing(0.25),
            &SMALL,
            thin("25 % of the servers silent (usual is at most 10 %)"),
        );
        let all = DataFacts {
            rows: 0,
            days: 0.0,
            gaps: f64::NAN,
            missing: 0.75,
        };
        check(
            all,
            &SMALL,
            skip(
                "0 of 2160 rows and 0.0 of 3.0 days and gaps in NaN % of the rows (at most 50 %) and 75 % of the servers silent (at most 50 %)",
            ),
        );
    }
}
