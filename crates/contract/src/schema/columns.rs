//! From an Avro record to Arrow columns, for what is stored and queried.
//!
//! Every top-level column is nullable: a row that did not decode has nulls. Fixed-point sums become doubles, a union of
//! records becomes its JSON text.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use super::avro::{Record, Type};

/// The columns of a record.
pub(crate) fn arrow_schema(record: &Record) -> SchemaRef {
    let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    schema(record, &utc)
}

/// The same with times as 64-bit integers: arrow-json knows no zone by name without its time zone database.
pub(crate) fn arrow_schema_with_integer_times(record: &Record) -> SchemaRef {
    schema(record, &DataType::Int64)
}

fn schema(record: &Record, time: &DataType) -> SchemaRef {
    let fields: Vec<Field> = record
        .fields
        .iter()
        .map(|f| Field::new(&f.name, data_type(&f.kind, time), true))
        .collect();
    Arc::new(Schema::new(fields))
}

fn data_type(kind: &Type, time: &DataType) -> DataType {
    match kind {
        Type::String | Type::Union(_) => DataType::Utf8,
        Type::Boolean => DataType::Boolean,
        Type::Int => DataType::Int32,
        Type::Long => DataType::Int64,
        Type::Float => DataType::Float32,
        Type::Double | Type::Fixed => DataType::Float64,
        Type::Time => time.clone(),
        Type::Nullable(inner) => data_type(inner, time),
        Type::Array(items) => DataType::new_list(data_type(items, time), false),
        Type::Record(record) | Type::Reference(_, record) => {
            DataType::Struct(struct_fields(record, time))
        }
        Type::Map(values) => {
            let entries = Fields::from(vec![
                Field::new("keys", DataType::Utf8, false),
                Field::new("values", data_type(values, time), false),
            ]);
            let entries = Field::new("entries", DataType::Struct(entries), false);
            DataType::Map(Arc::new(entries), false)
        }
    }
}

fn struct_fields(record: &Record, time: &DataType) -> Fields {
    let field = |f: &super::avro::Field| {
        let is_nullable = matches!(f.kind, Type::Nullable(_));
        Field::new(&f.name, data_type(&f.kind, time), is_nullable)
    };
    record.fields.iter().map(field).collect()
}
