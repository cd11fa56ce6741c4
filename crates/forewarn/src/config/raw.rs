//! First stage: what the user wrote, as it was written, with where it was written.
//!
//! `forewarn.toml`, then the environment, then `--set`: a later layer wins key by key. Unknown
//! keys are refused here. All values are text at this stage, whatever their TOML type, because
//! the environment and `--set` know nothing else; `resolve` gives them their types.
//!
//! Everything behind `kafka.properties.` is one name of librdkafka's, quoted or not. In the
//! environment its dots are written as underscores, since a variable's name holds no dots.

use std::collections::BTreeMap;
use std::fmt;

use toml::Value;

use super::keys::{self, PROPERTIES_PREFIX};

/// What the names of environment variables begin with; `__` separates the parts of a key.
const ENV_PREFIX: &str = "FOREWARN__";

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The configuration file of this name.
    File(String),
    /// The environment variable of this name.
    Env(String),
    /// `--set` on the command line.
    Flag,
    /// Nowhere: the default holds.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => write!(f, "in {name}"),
            Self::Env(name) => write!(f, "from {name}"),
            Self::Flag => write!(f, "from --set"),
            Self::Default => write!(f, "by default"),
        }
    }
}

/// A value before it has a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// Scalars as text, lists joined by commas.
    Text(String),
    /// `{ file = "…" }`: the value is that file's content.
    SecretFile(String),
    /// `{ env = "…" }`: the value is that variable's.
    SecretEnv(String),
}

/// One value and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) value: Written,
    pub(crate) origin: Origin,
}

/// All layers merged: dotted key → the value that wins.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    pub(crate) entries: BTreeMap<String, Entry>,
    /// What was wrong, one line each.
    pub(crate) errors: Vec<String>,
}

impl Raw {
    /// Adds the content of a configuration file; `name` is how messages call it.
    pub(crate) fn add_file(&mut self, name: &str, text: &str) {
        match text.parse::<toml::Table>() {
            Ok(table) => {
                let origin = Origin::File(name.to_owned());
                for (key, value) in table {
                    self.add_toml(&key, value, &origin);
                }
            }
            Err(error) => {
                let line = error.span().map_or(1, |span| {
                    1 + text
                        .bytes()
                        .take(span.start)
                        .filter(|b| *b == b'\n')
                        .count()
                });
                let message = error.message().replace('\n', ", ");
                self.errors
                    .push(format!("{name}, line {line}: not TOML: {message}"));
            }
        }
    }

    /// Adds every variable that is ours.
    pub(crate) fn add_env(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let mut ours: Vec<_> = variables
            .into_iter()
            .filter(|(name, _)| name.starts_with(ENV_PREFIX))
            .collect();
        ours.sort_unstable();
        for (name, value) in ours {
            let path = name[ENV_PREFIX.len()..].to_lowercase().replace("__", ".");
            let key = match path.strip_prefix(PROPERTIES_PREFIX) {
                Some(property) => format!("{PROPERTIES_PREFIX}{}", property.replace('_', ".")),
                None => path,
            };
            self.add_text(&key, &value, Origin::Env(name));
        }
    }

    /// Adds one `--set key=value`.
    pub(crate) fn add_flag(&mut self, written: &str) {
        match written.split_once('=') {
            Some((key, value)) => self.add_text(key.trim(), value.trim(), Origin::Flag),
            None => self.errors.push(format!(
                "--set {written}: no '='; write --set key=value, like --set rollup.grace=90s"
            )),
        }
    }

    /// A value given as text: a TOML list, table or quoted string where it is one, else itself.
    fn add_text(&mut self, key: &str, text: &str, origin: Origin) {
        let structured = text.starts_with(['[', '{', '"', '\'']);
        let parsed = structured
            .then(|| format!("value = {text}").parse::<toml::Table>().ok())
            .flatten()
            .and_then(|mut table| table.remove("value"));
        // IPv6 addresses begin with a bracket too: what is no TOML is plain text.
        self.add_toml(
            key,
            parsed.unwrap_or_else(|| Value::String(text.to_owned())),
            &origin,
        );
    }

    fn add_toml(&mut self, key: &str, value: Value, origin: &Origin) {
        match value {
            Value::Table(table) => match secret(key, &table) {
                Some(value) => self.put(key, value, origin),
                None if table.is_empty() && !keys::is_section(key) => {
                    self.put(key, Written::Text(String::new()), origin);
                }
                None => {
                    for (name, value) in table {
                        self.add_toml(&format!("{key}.{name}"), value, origin);
                    }
                }
            },
            Value::Array(items) => {
                let items: Option<Vec<_>> = items.iter().map(scalar).collect();
                match items {
                    Some(items) => self.put(key, Written::Text(items.join(",")), origin),
                    None => self.errors.push(format!(
                        "{key} ({origin}): a list holds plain values only, like [\"a\", \"b\"]"
                    )),
                }
            }
            value => {
                if let Some(text) = scalar(&value) {
                    self.put(key, Written::Text(text), origin);
                }
            }
        }
    }

    fn put(&mut self, key: &str, value: Written, origin: &Origin) {
        let property = key
            .strip_prefix(PROPERTIES_PREFIX)
            .is_some_and(|name| !name.is_empty());
        if !property && keys::find(key).is_none() {
            let hint = keys::nearest(key).map_or_else(
                || "`forewarn config check` prints all keys".to_owned(),
                |near| format!("did you mean {near}?"),
            );
            self.errors
                .push(format!("{key} ({origin}): unknown key; {hint}"));
            return;
        }
        let entry = Entry {
            value,
            origin: origin.clone(),
        };
        self.entries.insert(key.to_owned(), entry);
    }
}

/// `{ file = "…" }` and `{ env = "…" }` below `kafka.properties`.
fn secret(key: &str, table: &toml::Table) -> Option<Written> {
    if !key.starts_with(PROPERTIES_PREFIX) || table.len() != 1 {
        return None;
    }
    match table.iter().next()? {
        (name, Value::String(path)) if name == "file" => Some(Written::SecretFile(path.clone())),
        (name, Value::String(variable)) if name == "env" => {
            Some(Written::SecretEnv(variable.clone()))
        }
        _ => None,
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Datetime(time) => Some(time.to_string()),
        Value::Array(_) | Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &Raw, key: &str) -> Option<String> {
        match raw.entries.get(key).map(|entry| &entry.value) {
            Some(Written::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    #[test]
    fn a_later_layer_wins_key_by_key() {
        let mut raw = Raw::default();
        raw.add_file(
            "forewarn.toml",
            "[kafka]\nbrokers = \"file:1\"\n[rollup]\ngrace = \"1s\"\n[forecast]\nevery = 3\n",
        );
        raw.add_env([
            ("FOREWARN__KAFKA__BROKERS".to_owned(), "env:1".to_owned()),
            ("FOREWARN__ROLLUP__GRACE".to_owned(), "2s".to_owned()),
            ("PATH".to_owned(), "/bin".to_owned()),
        ]);
        raw.add_flag("rollup.grace=3s");
        assert_eq!(raw.errors, Vec::<String>::new());
        assert_eq!(text(&raw, "forecast.every").as_deref(), Some("3"));
        assert_eq!(text(&raw, "kafka.brokers").as_deref(), Some("env:1"));
        assert_eq!(text(&raw, "rollup.grace").as_deref(), Some("3s"));
    }

    #[test]
    fn everything_behind_kafka_properties_is_one_name() {
        let mut raw = Raw::default();
        raw.add_file(
            "f",
            "[kafka.properties]\nsession.timeout.ms = 10000\n\"linger.ms\" = 20\nsasl.password = { file = \"pw\" }\n",
        );
        raw.add_env([(
            "FOREWARN__KAFKA__PROPERTIES__SASL_USERNAME".to_owned(),
            "me".to_owned(),
        )]);
        raw.add_flag("kafka.properties.linger.ms=5");
        raw.add_flag("kafka.properties.ssl.key.password={ env = \"PW\" }");
        assert_eq!(raw.errors, Vec::<String>::new());
        let of = |name: &str| text(&raw, &format!("kafka.properties.{name}"));
        assert_eq!(of("session.timeout.ms").as_deref(), Some("10000"));
        assert_eq!(of("linger.ms").as_deref(), Some("5"));
        assert_eq!(of("sasl.username").as_deref(), Some("me"));
        let secret = |name: &str| raw.entries.get(name).map(|entry| entry.value.clone());
        assert_eq!(
            secret("kafka.properties.sasl.password"),
            Some(Written::SecretFile("pw".to_owned()))
        );
        assert_eq!(
            secret("kafka.properties.ssl.key.password"),
            Some(Written::SecretEnv("PW".to_owned()))
        );
    }

    #[test]
    fn lists_and_addresses_given_as_text() {
        let mut raw = Raw::default();
        raw.add_flag("archive.topics=[\"rollups\", \"drift\"]");
        raw.add_flag("telemetry.listen=[::1]:0");
        assert_eq!(
            text(&raw, "archive.topics").as_deref(),
            Some("rollups,drift")
        );
        assert_eq!(text(&raw, "telemetry.listen").as_deref(), Some("[::1]:0"));
    }

    #[track_caller]
    fn check_refused(fill: impl FnOnce(&mut Raw), expected: &str) {
        let mut raw = Raw::default();
        fill(&mut raw);
        assert_eq!(raw.errors, [expected]);
    }

    #[test]
    fn what_cannot_be_read_is_one_line_that_says_where() {
        check_refused(
            |raw| raw.add_file("forewarn.toml", "[kafka]\nbroker = \"x:1\"\n"),
            "kafka.broker (in forewarn.toml): unknown key; did you mean kafka.brokers?",
        );
        check_refused(
            |raw| raw.add_env([("FOREWARN__LAKE__URI".to_owned(), "x".to_owned())]),
            "lake.uri (from FOREWARN__LAKE__URI): unknown key; did you mean lake.url?",
        );
        check_refused(
            |raw| raw.add_flag("xyzzy=1"),
            "xyzzy (from --set): unknown key; `forewarn config check` prints all keys",
        );
        check_refused(
            |raw| raw.add_flag("rollup.grace"),
            "--set rollup.grace: no '='; write --set key=value, like --set rollup.grace=90s",
        );
        check_refused(
            |raw| raw.add_flag("archive.topics=[[1]]"),
            "archive.topics (from --set): a list holds plain values only, like [\"a\", \"b\"]",
        );
        let mut raw = Raw::default();
        raw.add_file("forewarn.toml", "[kafka]\nbrokers = = 3\n");
        assert_eq!(raw.errors.len(), 1);
        assert!(
            raw.errors[0].starts_with("forewarn.toml, line 2: not TOML: "),
            "{:?}",
            raw.errors
        );
        assert!(!raw.errors[0].contains('\n'));
    }

    #[test]
    fn a_section_is_no_value() {
        check_refused(
            |raw| raw.add_file("f", "[kafka]\n[kafkaa]\n"),
            "kafkaa (in f): unknown key; `forewarn config check` prints all keys",
        );
        check_refused(
            |raw| raw.add_flag("rollup=5"),
            "rollup (from --set): unknown key; `forewarn config check` prints all keys",
        );
    }
}
