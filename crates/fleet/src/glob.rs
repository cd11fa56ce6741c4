//! Patterns for server names: `*` stands for any characters (also none), `?` for one; everything else for itself.
//!
//! It is not: a path glob. There are no classes, no braces and nothing to escape, since server names hold none of these.

/// Whether a name fits a pattern as a whole. Time is at most pattern × name.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where to go on when something does not fit: after the last star, one character of the name further.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(&c) = name.get(n) {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == c => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((after_star, from)) = retry else {
                    return false;
                };
                retry = Some((after_star, from + 1));
                p = after_star;
                n = from + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(pattern: &str, name: &str, expected: bool) {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }

    #[test]
    fn stars_and_question_marks() {
        check("ppml0001", "ppml0001", true);
        check("ppml000", "ppml0001", false);
        check("ppml0001x", "ppml0001", false);
        check("*", "", true);
        check("*", "anything", true);
        check("?", "", false);
        check("?", "ä", true);
        check("", "", true);
        check("", "a", false);
        check("pp*01", "ppml0001", true);
        check("pp*01", "ppml0010", false);
        check("vm00??", "vm0007", true);
        check("vm00??", "vm0007x8", false);
        check("*x*", "vm0007x8", true);
        check("a*b*c", "aXbXbXc", true);
        check("a*b*c", "aXbXbX", false);
        check("**", "ab", true);
    }

    /// The definition, without cleverness.
    fn by_definition(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(('*', rest)), None) => by_definition(rest, name),
            (Some(('*', rest)), Some((_, shorter))) => {
                by_definition(rest, name) || by_definition(pattern, shorter)
            }
            (Some(_), None) => false,
            (Some((p, rest)), Some((c, shorter))) => {
                (*p == '?' || p == c) && by_definition(rest, shorter)
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{0,8}", name in "[ab]{0,10}") {
            let p: Vec<char> = pattern.chars().collect();
            let n: Vec<char> = name.chars().collect();
            prop_assert_eq!(matches(&pattern, &name), by_definition(&p, &n));
        }
    }
}
