//! Whether there is enough data to train on.

/// Rows below which a training is not worth while: it is skipped.
const SKIP_BELOW_ROWS: u64 = 1_000;
/// Rows that a training should have.
const ENOUGH_ROWS: u64 = 100_000;

/// What the data are good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataCheck {
    /// Enough.
    Enough,
    /// Less than there should be; why.
    Thin(String),
    /// Not worth a training; why.
    Skip(String),
}

/// Checks `rows` rows over `days` days; `least_days` is the preset's, 28 for a training of its own length.
#[must_use]
pub fn check_data(rows: u64, days: f64, least_days: f64) -> DataCheck {
    if rows < SKIP_BELOW_ROWS {
        return DataCheck::Skip(format!(
            "{rows} rows, a training needs at least {SKIP_BELOW_ROWS}"
        ));
    }
    let mut missing = Vec::new();
    if rows < ENOUGH_ROWS {
        missing.push(format!("{rows} of {ENOUGH_ROWS} rows"));
    }
    if days.is_nan() || days < least_days {
        missing.push(format!("{days:.1} of {least_days:.1} days"));
    }
    if missing.is_empty() {
        DataCheck::Enough
    } else {
        DataCheck::Thin(missing.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_days_to_the_one() {
        assert_eq!(check_data(100_000, 28.0, 28.0), DataCheck::Enough);
        let thin = |words: &str| DataCheck::Thin(words.to_owned());
        assert_eq!(check_data(99_999, 28.0, 28.0), thin("99999 of 100000 rows"));
        assert_eq!(check_data(100_000, 27.9, 28.0), thin("27.9 of 28.0 days"));
        assert_eq!(
            check_data(1_000, 1.0, 7.0),
            thin("1000 of 100000 rows and 1.0 of 7.0 days")
        );
        assert!(matches!(
            check_data(100_000, f64::NAN, 28.0),
            DataCheck::Thin(_)
        ));
        let skip = "999 rows, a training needs at least 1000".to_owned();
        assert_eq!(check_data(999, 90.0, 28.0), DataCheck::Skip(skip));
    }
}
