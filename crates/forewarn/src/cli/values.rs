//! Values of arguments: times, numbers, which servers.

use std::path::Path;

use chrono::DateTime;
use fleet::replay::Servers;

/// A time in RFC 3339, as milliseconds since the epoch.
pub(crate) fn time(text: &str) -> Result<i64, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.timestamp_millis())
        .map_err(|error| format!("{error}; write a time in RFC 3339, like 2013-08-01T00:00:00Z"))
}

/// A number above zero.
pub(crate) fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("write a number above 0".to_owned()),
    }
}

/// A schedule of learning rates.
pub(crate) fn schedule(text: &str) -> Result<tft::Schedule, String> {
    tft::Schedule::named(text).ok_or_else(|| "write cosine or plateau".to_owned())
}

/// Longest text that a person may give for a reason: it is one line of a log.
const MAX_WORDS: usize = 500;
/// Longest name of an event: `decision.triggers` takes no longer ones either.
const MAX_EVENT_NAME: usize = 100;

/// A line of text.
pub(crate) fn words(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > MAX_WORDS || text.chars().any(char::is_control) {
        return Err(format!("write one line of 1 to {MAX_WORDS} characters"));
    }
    Ok(text.to_owned())
}

/// The NAME of `event:NAME`, as an expression of triggers can hold it.
pub(crate) fn event_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '(' | ')');
    if text.is_empty() || text.chars().count() > MAX_EVENT_NAME || !text.chars().all(allowed) {
        return Err(format!(
            "write 1 to {MAX_EVENT_NAME} characters without spaces and parentheses, like deploy"
        ));
    }
    Ok(text.to_owned())
}

/// Where `tail` begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TailFrom {
    /// With the oldest record that the topic still has.
    Beginning,
    /// With the first record whose Kafka timestamp is at or after this, milliseconds.
    Time(i64),
}

/// `beginning` or a time.
pub(crate) fn tail_from(text: &str) -> Result<TailFrom, String> {
    if text == "beginning" {
        return Ok(TailFrom::Beginning);
    }
    time(text)
        .map(TailFrom::Time)
        .map_err(|_| "write beginning, or a time in RFC 3339 like 2013-08-01T00:00:00Z".to_owned())
}

/// `GLOB`, or `@FILE` with one name a line.
pub(crate) fn servers(text: &str) -> Result<Servers, String> {
    let Some(path) = text.strip_prefix('@') else {
        if text.is_empty() {
            return Err("write a name, a pattern like ppml*, or @FILE with a name a line".into());
        }
        return Ok(Servers::Glob(text.to_owned()));
    };
    let text = std::fs::read_to_string(Path::new(path))
        .map_err(|error| format!("file {path} cannot be read: {error}"))?;
    let servers = Servers::from_lines(&text);
    if matches!(&servers, Servers::Listed(names) if names.is_empty()) {
        return Err(format!(
            "file {path} names no server; write one name a line"
        ));
    }
    Ok(servers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time("2013-08-01T00:00:00Z").unwrap(), 1_375_315_200_000);
        assert_eq!(
            time("2013-08-01T02:00:00.5+02:00").unwrap(),
            1_375_315_200_500
        );
        for text in [
            "2013-08-01",
            "yesterday",
            "1375315200000",
            "2013-08-01T00:00:00",
        ] {
            assert!(
                time(text)
                    .unwrap_err()
                    .contains("like 2013-08-01T00:00:00Z"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_file_of_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("servers.txt");
        std::fs::write(&path, "# held out\nvm1\n\n  vm2  \n").unwrap();
        let filter = servers(&format!("@{}", path.display())).unwrap();
        assert!(filter.contains("vm1") && filter.contains("vm2") && !filter.contains("vm"));
        std::fs::write(&path, "\n").unwrap();
        assert!(servers(&format!("@{}", path.display())).is_err());
        assert!(
            servers("@no/such/file")
                .unwrap_err()
                .contains("no/such/file")
        );
        assert!(servers("").is_err());
    }

    #[test]
    fn reasons_are_a_line_and_events_a_word() {
        assert_eq!(words(" new racks ").unwrap(), "new racks");
        assert_eq!(words(&"x".repeat(500)).unwrap().len(), 500);
        for text in ["", " ", "two\nlines", &"x".repeat(501)] {
            assert!(words(text).unwrap_err().contains("1 to 500"), "{text}");
        }
        assert_eq!(event_name("deploy:v2").unwrap(), "deploy:v2");
        for text in ["", "a b", "a)", &"x".repeat(101)] {
            assert!(
                event_name(text).unwrap_err().contains("like deploy"),
                "{text}"
            );
        }
    }

    #[test]
    fn factors_and_beginnings() {
        assert_eq!(factor("60").unwrap(), 60.0);
        assert!(factor("0").is_err() && factor("-1").is_err() && factor("inf").is_err());
        assert_eq!(tail_from("beginning").unwrap(), TailFrom::Beginning);
        assert!(tail_from("now").is_err());
    }
}
