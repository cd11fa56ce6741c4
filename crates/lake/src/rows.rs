//! Serde rows to parquet bytes and back, for the small tables that travel with a model (`baseline.parquet`).
//!
//! Columns take their names and types from the rows: numbers, text, booleans, lists of these, options. Numbers must be
//! finite: JSON, which is the way between, has no NaN.
//!
//! It is not for anything large: rows pass through JSON.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::json::reader::infer_json_schema_from_iterator;
use arrow::json::{LineDelimitedWriter, ReaderBuilder};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why rows do not become a table, or a table no rows.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// There is no row to take the columns from.
    #[error("a table without rows has no columns")]
    Empty,
    /// The rows do not become columns.
    #[error("arrange rows: {0}")]
    Arrow(#[from] ArrowError),
    /// The bytes are no parquet, or damaged.
    #[error("read or write parquet: {0}")]
    Parquet(#[from] ParquetError),
    /// The table has other columns than the rows.
    #[error("convert rows: {0}")]
    Json(#[from] serde_json::Error),
}

/// Encodes rows, zstd.
///
/// # Errors
/// [`RowsError::Empty`] without rows; otherwise what is wrong with them.
pub fn to_parquet<T: Serialize>(rows: &[T]) -> Result<Bytes, RowsError> {
    if rows.is_empty() {
        return Err(RowsError::Empty);
    }
    let values = rows.iter().map(|row| {
        serde_json::to_value(row).map_err(|error| ArrowError::JsonError(error.to_string()))
    });
    let schema = Arc::new(infer_json_schema_from_iterator(values)?);
    let mut decoder = ReaderBuilder::new(Arc::clone(&schema))
        .with_batch_size(rows.len())
        .build_decoder()?;
    decoder.serialize(rows)?;
    let batch = decoder.flush()?.ok_or(RowsError::Empty)?;
    let properties = WriterProperties::builder()
        .set_created_by(concat!("forewarn ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?.into())
}

/// Decodes rows; a column that the rows do not know is ignored.
///
/// # Errors
/// Where the bytes are no parquet, or a column that the rows need is missing or has another type.
pub fn from_parquet<T: DeserializeOwned>(bytes: Bytes) -> Result<Vec<T>, RowsError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()?;
    let mut rows = Vec::new();
    for batch in reader {
        let batch: RecordBatch = batch?;
        let mut writer = LineDelimitedWriter::new(Vec::new());
        writer.write(&batch)?;
        writer.finish()?;
        for row in serde_json::Deserializer::from_slice(&writer.into_inner()).into_iter() {
            rows.push(row?);
        }
    }
    Ok(rows)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Cell {
        profile: String,
        edges: Vec<f64>,
        counts: Vec<i64>,
        mean: f32,
        sd: Option<f64>,
        n: i64,
    }

    fn cell(n: i64) -> Cell {
        Cell {
            profile: format!("p{n}"),
            edges: vec![0.1, 1.0 / 3.0, 1e-300, -1e17, 4.0],
            counts: (0..n % 3).collect(),
            mean: 0.1,
            sd: (n % 2 == 0).then_some(2.0),
            n: i64::MAX - n,
        }
    }

    #[test]
    fn rows_come_back_bit_for_bit() {
        let rows: Vec<Cell> = (0..3000).map(cell).collect();
        let bytes = to_parquet(&rows).unwrap();
        assert_eq!(from_parquet::<Cell>(bytes).unwrap(), rows);
    }

    #[test]
    fn what_is_wrong_is_an_error() {
        assert!(matches!(to_parquet::<Cell>(&[]), Err(RowsError::Empty)));
        let garbage = from_parquet::<Cell>(Bytes::from_static(b"PAR1garbagePAR1"));
        assert!(matches!(garbage, Err(RowsError::Parquet(_))));
        let other = to_parquet(&[serde_json::json!({"x": 1})]).unwrap();
        assert!(matches!(
            from_parquet::<Cell>(other),
            Err(RowsError::Json(_))
        ));
    }
}
