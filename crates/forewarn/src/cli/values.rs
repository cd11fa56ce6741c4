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
    fn factors_and_beginnings() {
        assert_eq!(factor("60").unwrap(), 60.0);
        assert!(factor("0").is_err() && factor("-1").is_err() && factor("inf").is_err());
        assert_eq!(tail_from("beginning").unwrap(), TailFrom::Beginning);
        assert!(tail_from("now").is_err());
    }
}
