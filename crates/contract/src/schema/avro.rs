//! A schema as a value: the few Avro types that our records use, and their JSON with keys in a readable order.

use serde::{Serialize, Serializer};
use serde_json::Value;

/// An Avro type.
#[derive(Debug, Clone)]
pub(crate) enum Type {
    String,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    /// 16 bytes: [`crate::Fixed`].
    Fixed,
    /// Milliseconds since the epoch, UTC.
    Time,
    Nullable(Box<Type>),
    Array(Box<Type>),
    /// From string.
    Map(Box<Type>),
    Record(Record),
    /// A record defined earlier in the same schema.
    Reference(&'static str, Record),
    /// One of several records.
    Union(Vec<Record>),
}

/// A named record.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) fields: Vec<Field>,
}

/// A field of a record. Nullable ones and those that came later have a default: a reader of this schema takes it where the
/// writer's had no such field.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Type,
    pub(crate) doc: String,
    /// The version of the schema that it came with; 0: it was there from the beginning.
    pub(crate) since: u8,
}

impl Field {
    /// Null, nothing or zero.
    fn default(&self) -> Option<Value> {
        match &self.kind {
            Type::Nullable(_) => Some(Value::Null),
            Type::Array(_) if self.since > 0 => Some(Value::Array(Vec::new())),
            Type::Int if self.since > 0 => Some(Value::from(0)),
            _ => None,
        }
    }
}

/// All our records live here; a reader of one schema may meet those of another.
const NAMESPACE: &str = "forewarn";

impl Type {
    pub(crate) fn nullable(self) -> Type {
        Type::Nullable(Box::new(self))
    }

    pub(crate) fn array(self) -> Type {
        Type::Array(Box::new(self))
    }

    /// As [`Record::version`].
    fn version(&self) -> u8 {
        match self {
            Type::Record(record) => record.version(),
            Type::Array(items) => items.version(),
            Type::Nullable(inner) => inner.version(),
            Type::Union(records) => records.iter().map(Record::version).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// As [`Record::before`].
    fn before(&self, version: u8) -> Type {
        match self {
            Type::Record(record) => Type::Record(record.before(version)),
            Type::Array(items) => items.before(version).array(),
            Type::Nullable(inner) => inner.before(version).nullable(),
            Type::Union(records) => {
                Type::Union(records.iter().map(|of| of.before(version)).collect())
            }
            same => same.clone(),
        }
    }
}

impl Record {
    /// The record as it was before the last fields came, all the way down; `None` of the first version.
    pub(crate) fn earlier(&self) -> Option<Record> {
        let version = self.version();
        (version > 0).then(|| self.before(version))
    }

    /// The version that the last fields came with.
    fn version(&self) -> u8 {
        let of = |field: &Field| field.since.max(field.kind.version());
        self.fields.iter().map(of).max().unwrap_or(0)
    }

    /// Without the fields that came with `version` or later.
    fn before(&self, version: u8) -> Record {
        let fields = self.fields.iter().filter(|field| field.since < version);
        let fields = fields.map(|field| Field {
            kind: field.kind.before(version),
            ..field.clone()
        });
        Record {
            fields: fields.collect(),
            ..self.clone()
        }
    }

    /// Pretty JSON with a final line feed.
    pub(crate) fn to_json(&self) -> String {
        let root = RecordJson::of(self, Some(NAMESPACE));
        // Writing strings and lists to memory cannot fail.
        let mut json = serde_json::to_string_pretty(&root).unwrap_or_default();
        json.push('\n');
        json
    }
}

#[derive(Serialize)]
struct RecordJson<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    doc: &'a str,
    fields: Vec<FieldJson<'a>>,
}

impl<'a> RecordJson<'a> {
    fn of(record: &'a Record, namespace: Option<&'a str>) -> RecordJson<'a> {
        let fields = record.fields.iter().map(|field| FieldJson {
            name: &field.name,
            kind: &field.kind,
            default: field.default(),
            doc: &field.doc,
        });
        RecordJson {
            kind: "record",
            name: record.name,
            namespace,
            doc: record.doc,
            fields: fields.collect(),
        }
    }
}

#[derive(Serialize)]
struct FieldJson<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a Type,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<Value>,
    #[serde(skip_serializing_if = "str::is_empty")]
    doc: &'a str,
}

/// A type that needs an object of its own.
#[derive(Serialize)]
#[serde(untagged)]
enum ComplexJson<'a> {
    Array {
        #[serde(rename = "type")]
        kind: &'static str,
        items: &'a Type,
    },
    Map {
        #[serde(rename = "type")]
        kind: &'static str,
        values: &'a Type,
    },
    Logical {
        #[serde(rename = "type")]
        kind: &'static str,
        #[serde(rename = "logicalType")]
        logical: &'static str,
    },
}

impl Serialize for Type {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Type::String => serializer.serialize_str("string"),
            Type::Boolean => serializer.serialize_str("boolean"),
            Type::Int => serializer.serialize_str("int"),
            Type::Long => serializer.serialize_str("long"),
            Type::Float => serializer.serialize_str("float"),
            Type::Double => serializer.serialize_str("double"),
            Type::Fixed => serializer.serialize_str("bytes"),
            Type::Reference(name, _) => serializer.serialize_str(name),
            Type::Time => ComplexJson::Logical {
                kind: "long",
                logical: "timestamp-millis",
            }
            .serialize(serializer),
            Type::Nullable(inner) => ("null", inner.as_ref()).serialize(serializer),
            Type::Array(items) => ComplexJson::Array {
                kind: "array",
                items,
            }
            .serialize(serializer),
            Type::Map(values) => ComplexJson::Map {
                kind: "map",
                values,
            }
            .serialize(serializer),
            Type::Record(record) => RecordJson::of(record, None).serialize(serializer),
            Type::Union(records) => {
                serializer.collect_seq(records.iter().map(|r| RecordJson::of(r, None)))
            }
        }
    }
}
