//! Which servers a fleet has: how many of each profile, and their names.

use contract::Contract;

use crate::FleetError;

/// Largest fleet. As many servers as the rollup takes in one open bucket: a larger fleet would only be turned away there.
pub const MAX_SERVERS: usize = 100_000;

/// The fleet of 90: the proportions of every fleet that is not listed by profile.
const NINETY: [(&str, usize); 7] = [
    ("ml_compute", 20),
    ("database", 15),
    ("web_api", 25),
    ("conductor_mgmt", 5),
    ("data_ingest", 10),
    ("risk_analytics", 8),
    ("generic", 7),
];

/// The fleet of 160, which is not quite in these proportions.
const HUNDRED_SIXTY: [(&str, usize); 7] = [
    ("ml_compute", 40),
    ("database", 25),
    ("web_api", 50),
    ("conductor_mgmt", 8),
    ("data_ingest", 15),
    ("risk_analytics", 12),
    ("generic", 10),
];

/// How large a fleet is and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FleetSpec {
    /// So many servers, in the proportions of the fleet of 90 (by largest remainder); 160 is a fleet of its own.
    Servers(usize),
    /// So many servers of each profile; profiles that are not named have none, one that is named twice counts twice.
    Profiles(Vec<(String, usize)>),
}

impl FleetSpec {
    /// Reads `ml_compute=40,web_api=10`.
    ///
    /// # Errors
    /// [`FleetError::BadProfileList`] names the part that is not `PROFILE=COUNT`.
    pub fn parse_profiles(text: &str) -> Result<Self, FleetError> {
        let part = |part: &str| {
            let bad = || FleetError::BadProfileList {
                text: part.trim().to_owned(),
            };
            let (name, count) = part.split_once('=').ok_or_else(bad)?;
            let count = count.trim().parse::<usize>().map_err(|_| bad())?;
            match name.trim() {
                "" => Err(bad()),
                name => Ok((name.to_owned(), count)),
            }
        };
        text.split(',')
            .map(part)
            .collect::<Result<_, _>>()
            .map(FleetSpec::Profiles)
    }

    /// How many servers of each profile of the contract (by its index).
    pub(crate) fn counts(&self, contract: &Contract) -> Result<Vec<usize>, FleetError> {
        let ninety: Vec<_> = NINETY
            .iter()
            .map(|&(name, n)| (name.to_owned(), n))
            .collect();
        let named = match self {
            FleetSpec::Servers(160) => HUNDRED_SIXTY
                .iter()
                .map(|&(name, n)| (name.to_owned(), n))
                .collect(),
            FleetSpec::Servers(n) if *n > MAX_SERVERS => return Err(bad_count(*n)),
            FleetSpec::Servers(n) => scaled(&ninety, *n),
            FleetSpec::Profiles(named) => named.clone(),
        };
        let mut counts = vec![0usize; contract.profiles.len()];
        for (name, n) in &named {
            let index = contract
                .profiles
                .iter()
                .position(|profile| profile.name == *name);
            let count = index.and_then(|index| counts.get_mut(index));
            let count = count.ok_or_else(|| unknown_profile(contract, name))?;
            *count = count.saturating_add(*n);
        }
        let total = counts.iter().fold(0usize, |sum, &n| sum.saturating_add(n));
        if total == 0 || total > MAX_SERVERS {
            return Err(bad_count(total));
        }
        Ok(counts)
    }
}

fn bad_count(asked: usize) -> FleetError {
    FleetError::BadServerCount {
        asked,
        most: MAX_SERVERS,
    }
}

fn unknown_profile(contract: &Contract, name: &str) -> FleetError {
    let known: Vec<&str> = contract.profiles.iter().map(|p| p.name.as_str()).collect();
    FleetError::UnknownProfile {
        name: name.to_owned(),
        known: known.join(", "),
    }
}

/// Largest remainder: everybody gets the whole part of its share, what is left goes to the largest fractions.
fn scaled(proportions: &[(String, usize)], total: usize) -> Vec<(String, usize)> {
    let whole: usize = proportions.iter().map(|(_, n)| n).sum();
    let mut counts: Vec<(String, usize)> = proportions
        .iter()
        .map(|(name, n)| (name.clone(), total * n / whole))
        .collect();
    let mut by_remainder: Vec<usize> = (0..proportions.len()).collect();
    // Stable: of equal fractions the profile that is listed first gets the server.
    by_remainder.sort_by_key(|&i| {
        proportions
            .get(i)
            .map(|(_, n)| std::cmp::Reverse(total * n % whole))
    });
    let missing = total - counts.iter().map(|(_, n)| n).sum::<usize>();
    for &i in by_remainder.iter().take(missing) {
        if let Some((_, n)) = counts.get_mut(i) {
            *n += 1;
        }
    }
    counts
}

/// Name of the `number`th server (from 1) of a profile whose pattern is like `ppml####`.
///
/// A number with more digits than the pattern is written out: such a name no longer fits the pattern, which does no harm
/// as long as the record states its profile. Without a pattern the profile's name is what the number follows.
pub(crate) fn server_name(profile: &str, pattern: Option<&str>, number: usize) -> String {
    match pattern {
        Some(pattern) => {
            let width = pattern.chars().filter(|&c| c == '#').count();
            let prefix: String = pattern.chars().take_while(|&c| c != '#').collect();
            let suffix: String = pattern
                .chars()
                .skip_while(|&c| c != '#')
                .filter(|&c| c != '#')
                .collect();
            format!("{prefix}{number:0width$}{suffix}")
        }
        None => format!("{profile}{number:04}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn linborg() -> Contract {
        Contract::shipped("linborg").unwrap()
    }

    #[track_caller]
    fn check(spec: FleetSpec, expected: [(&str, usize); 7]) {
        let contract = linborg();
        let counts = spec.counts(&contract).unwrap();
        for (name, want) in expected {
            let index = contract
                .profiles
                .iter()
                .position(|p| p.name == name)
                .unwrap();
            assert_eq!(counts[index], want, "{name}");
        }
        assert_eq!(
            counts.iter().sum::<usize>(),
            expected.iter().map(|e| e.1).sum::<usize>()
        );
    }

    #[test]
    fn fleets_of_90_and_160_are_the_listed_ones() {
        check(FleetSpec::Servers(90), NINETY);
        check(FleetSpec::Servers(160), HUNDRED_SIXTY);
    }

    #[test]
    fn other_sizes_follow_the_largest_remainder() {
        // 10/90 of 20, 15, 25, 5, 10, 8, 7: 2.22, 1.67, 2.78, 0.56, 1.11, 0.89, 0.78; whole parts sum to 6, and the four
        // largest fractions are risk .89, web .78, generic .78 and database .67.
        let names = NINETY.map(|(name, _)| name);
        let expected = [2, 2, 3, 0, 1, 1, 1];
        check(
            FleetSpec::Servers(10),
            std::array::from_fn(|i| (names[i], expected[i])),
        );
        check(
            FleetSpec::Servers(180),
            NINETY.map(|(name, n)| (name, 2 * n)),
        );
        for n in 1..=400 {
            let counts = FleetSpec::Servers(n).counts(&linborg()).unwrap();
            assert_eq!(counts.iter().sum::<usize>(), n);
        }
    }

    #[test]
    fn profile_lists_are_read_and_judged() {
        let spec = FleetSpec::parse_profiles("ml_compute=40, web_api=10").unwrap();
        let want = vec![("ml_compute".to_owned(), 40), ("web_api".to_owned(), 10)];
        assert_eq!(spec, FleetSpec::Profiles(want));
        for bad in [
            "",
            "ml_compute",
            "ml_compute=",
            "=3",
            "ml_compute=-1",
            "a=1,,b=2",
        ] {
            assert!(
                matches!(
                    FleetSpec::parse_profiles(bad),
                    Err(FleetError::BadProfileList { .. })
                ),
                "{bad}"
            );
        }
        let unknown = FleetSpec::parse_profiles("mainframe=2")
            .unwrap()
            .counts(&linborg());
        assert!(
            matches!(unknown, Err(FleetError::UnknownProfile { name, .. }) if name == "mainframe")
        );
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for n in [0, MAX_SERVERS + 1, usize::MAX] {
            let refused = FleetSpec::Servers(n).counts(&linborg());
            assert!(
                matches!(refused, Err(FleetError::BadServerCount { .. })),
                "{n}"
            );
        }
        let two = vec![
            ("generic".to_owned(), usize::MAX),
            ("web_api".to_owned(), 2),
        ];
        assert!(FleetSpec::Profiles(two).counts(&linborg()).is_err());
    }

    #[test]
    fn names_follow_the_pattern() {
        assert_eq!(server_name("ml_compute", Some("ppml####"), 15), "ppml0015");
        assert_eq!(
            server_name("conductor_mgmt", Some("ppcon##"), 123),
            "ppcon123"
        );
        assert_eq!(server_name("x", Some("a##z"), 7), "a07z");
        assert_eq!(server_name("plain", None, 7), "plain0007");
    }
}
