//! A schema as a value: the few Avro types that our records use, and their JSON with keys in a readable order.

use serde::{Serialize, Serializer};

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

/// A field of a record; nullable ones have the default null, so that a later version may add them.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Type,
    pub(crate) doc: String,
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
}

impl Record {
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
            default: matches!(field.kind, Type::Nullable(_)).then_some(()),
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
    /// `Some(())` is written as null.
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<()>,
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
