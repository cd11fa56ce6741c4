//! Text to typed values: durations, sizes, addresses, places. Each error says what to write.

use std::time::Duration;

/// Units of a duration in milliseconds, largest first.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units of a size in bytes, largest first.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// "60s", "10m", "6h", "200ms", "1d": a whole or decimal number and a unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let problem = || {
        "not a duration; write a number with ms, s, m, h or d behind it, like \"60s\"".to_owned()
    };
    let (number, unit) = split_unit(text);
    let (_, millis) = DURATION_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(problem)?;
    let number: f64 = number.parse().map_err(|_| problem())?;
    let total = number * *millis as f64;
    // A century is far beyond any sensible setting and far below what milliseconds can hold.
    if !(0.0..=3.2e12).contains(&total) {
        return Err(problem());
    }
    Ok(Duration::from_millis(total.round() as u64))
}

/// A duration that is not zero.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() {
        return Err("must be longer than zero".to_owned());
    }
    Ok(duration)
}

/// Seconds as a plain number, or a duration.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => duration(text)?.as_secs_f64(),
    };
    if seconds.is_finite() && seconds > 0.0 {
        Ok(seconds)
    } else {
        Err("must be a number of seconds above zero".to_owned())
    }
}

/// A duration in its largest whole unit: what `duration` reads back to the same value.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis() as u64;
    let (unit, size) = DURATION_UNITS
        .iter()
        .find(|(_, size)| millis >= *size && millis.is_multiple_of(*size))
        .unwrap_or(&("s", 1_000));
    format!("{}{unit}", millis / size)
}

/// "128MiB", "64KiB", "1000000": bytes, with a binary or decimal unit where one is written.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let problem = || {
        "not a size; write a whole number with B, KiB, MiB or GiB behind it, like \"128MiB\""
            .to_owned()
    };
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "" => 1,
        unit => {
            SIZE_UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(problem)?
                .1
        }
    };
    let number: u64 = number.parse().map_err(|_| problem())?;
    match number.checked_mul(factor) {
        Some(0) => Err("must be more than nothing".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err(problem()),
    }
}

/// Bytes in their largest whole binary unit: what `size` reads back to the same value.
pub(crate) fn show_size(bytes: u64) -> String {
    SIZE_UNITS
        .iter()
        .filter(|(unit, _)| *unit == "B" || unit.contains('i'))
        .find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size))
        .map_or_else(
            || format!("{bytes}B"),
            |(unit, size)| format!("{}{unit}", bytes / size),
        )
}

/// A whole number of at least one.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    match text.replace('_', "").parse::<u64>() {
        Ok(0) | Err(_) => Err("must be a whole number of at least 1".to_owned()),
        Ok(count) => Ok(count),
    }
}

/// A number from 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a number from 0 to 1".to_owned()),
    }
}

/// `host:port`; an IPv6 host stands in brackets. Port 0 only where `allow_zero_port`.
pub(crate) fn host_port(text: &str, allow_zero_port: bool) -> Result<String, String> {
    let problem =
        |what: &str| format!("{what}; write host:port, like \"127.0.0.1:9100\" or \"[::1]:9100\"");
    let (host, port) = text.rsplit_once(':').ok_or_else(|| problem("no port"))?;
    if host.is_empty() || host.contains(char::is_whitespace) || host.contains('/') {
        return Err(problem("no host name"));
    }
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.contains(':') && !bracketed {
        return Err(problem("an IPv6 address without brackets"));
    }
    match port.parse::<u16>() {
        Ok(0) if !allow_zero_port => Err(problem("port 0 cannot be connected to")),
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(problem("the port is not a number from 0 to 65535")),
    }
}

/// One or more `host:port`, separated by commas; blanks around them are dropped.
pub(crate) fn brokers(text: &str) -> Result<String, String> {
    let list: Vec<String> = list(text)
        .into_iter()
        .map(|broker| host_port(broker, false).map_err(|problem| format!("{broker}: {problem}")))
        .collect::<Result<_, _>>()?;
    if list.is_empty() {
        return Err("no broker; write host:port, several separated by commas".to_owned());
    }
    Ok(list.join(","))
}

/// The parts of a comma-separated list, without blanks and empty parts.
pub(crate) fn list(text: &str) -> Vec<&str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect()
}

/// A place for objects: a path, `file://` or `memory://`.
pub(crate) fn location(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("empty; write a path, file:///path or memory://".to_owned());
    }
    match text.split_once("://") {
        None | Some(("file" | "memory", _)) => Ok(text.to_owned()),
        Some((scheme @ ("s3" | "gs" | "az"), _)) => Err(format!(
            "{scheme}:// is not built into this version; write a path, file:///path or memory://"
        )),
        Some((scheme, _)) => Err(format!(
            "unknown scheme {scheme}://; write a path, file:///path or memory://"
        )),
    }
}

/// What stands before every topic's name: what Kafka allows in a name, and short enough for one.
pub(crate) fn topic_prefix(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !text.chars().all(allowed) {
        return Err("Kafka allows letters, digits, '.', '_' and '-' in a topic's name".to_owned());
    }
    // Kafka's limit for a whole name is 249; our longest short name has 18 characters.
    if text.len() > 200 {
        return Err("longer than 200 characters".to_owned());
    }
    Ok(text.to_owned())
}

/// Splits "60s" into "60" and "s".
fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    (number, unit.trim())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("60s", 60_000),
            ("10m", 600_000),
            ("6h", 21_600_000),
            ("200ms", 200),
            ("1d", 86_400_000),
            ("1.5h", 5_400_000),
            ("0s", 0),
            ("5 m", 300_000),
        ] {
            assert_eq!(
                duration(text).unwrap(),
                Duration::from_millis(millis),
                "{text}"
            );
        }
        for text in [
            "",
            "60",
            "s",
            "-1s",
            "1y",
            "ten",
            "1e9h",
            "99999999d",
            "1.2.3s",
        ] {
            let problem = duration(text).unwrap_err();
            assert!(problem.contains("like \"60s\""), "{text}: {problem}");
        }
        assert!(positive_duration("0ms").is_err());
        assert_eq!(seconds("90").unwrap(), 90.0);
        assert_eq!(seconds("2m").unwrap(), 120.0);
        assert!(seconds("0").is_err() && seconds("-3").is_err() && seconds("nan").is_err());
    }

    #[test]
    fn what_is_shown_reads_back() {
        for millis in [
            0, 1, 200, 999, 1_000, 60_000, 90_000, 3_600_000, 86_400_000, 86_400_001,
        ] {
            let shown = show_duration(Duration::from_millis(millis));
            assert_eq!(
                duration(&shown).unwrap().as_millis() as u64,
                millis,
                "{shown}"
            );
        }
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
        assert_eq!(show_duration(Duration::from_secs(600)), "10m");
        for bytes in [1, 1_000, 1_024, 134_217_728, 5_000_000_000] {
            assert_eq!(size(&show_size(bytes)).unwrap(), bytes);
        }
        assert_eq!(show_size(134_217_728), "128MiB");
    }

    #[test]
    fn sizes() {
        assert_eq!(size("128MiB").unwrap(), 134_217_728);
        assert_eq!(size("1MB").unwrap(), 1_000_000);
        assert_eq!(size("77").unwrap(), 77);
        for text in ["", "0", "MiB", "1.5MiB", "128MIB", "-1B", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(host_port("127.0.0.1:0", true).unwrap(), "127.0.0.1:0");
        assert!(host_port("[::1]:9092", false).is_ok());
        for text in [
            "localhost",
            "localhost:",
            ":9092",
            "localhost:99999",
            "::1:9092",
            "a b:1",
        ] {
            assert!(
                host_port(text, true)
                    .unwrap_err()
                    .contains("write host:port"),
                "{text}"
            );
        }
        assert!(host_port("localhost:0", false).is_err());
        assert_eq!(brokers(" a:1 , b:2,").unwrap(), "a:1,b:2");
        assert!(brokers(",").is_err());
        assert!(brokers("a:1,b").unwrap_err().starts_with("b: "));
    }

    #[test]
    fn places() {
        for text in ["data/lake", "/var/lib/x", "file:///x", "memory://"] {
            assert_eq!(location(text).unwrap(), text);
        }
        assert!(location("s3://bucket/x").unwrap_err().contains("s3://"));
        assert!(location("ftp://x").unwrap_err().contains("unknown scheme"));
        assert!(location("").is_err());
    }

    #[test]
    fn prefixes() {
        assert_eq!(topic_prefix("forewarn.").unwrap(), "forewarn.");
        assert_eq!(topic_prefix("").unwrap(), "");
        assert!(topic_prefix("a b").is_err());
        assert!(topic_prefix(&"x".repeat(201)).is_err());
    }
}
