//! A parquet file of any columns, written batch by batch: what a command leaves for data people.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

/// What went wrong with a table.
#[derive(Debug, thiserror::Error)]
#[error("write {}: {source}", path.display())]
pub struct TableError {
    path: PathBuf,
    source: ParquetError,
}

/// A file that grows until [`TableWriter::finish`]; without it the file is not whole.
#[derive(Debug)]
pub struct TableWriter {
    path: PathBuf,
    writer: ArrowWriter<File>,
}

impl TableWriter {
    /// Starts a file with these columns, in place of one that is there.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path, schema: SchemaRef) -> Result<TableWriter, TableError> {
        let failed = |source: ParquetError| TableError {
            path: path.to_owned(),
            source,
        };
        let file = File::create(path).map_err(|error| failed(error.into()))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        let writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(failed)?;
        Ok(TableWriter {
            path: path.to_owned(),
            writer,
        })
    }

    /// Appends rows.
    ///
    /// # Errors
    /// Other columns, or the file cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), TableError> {
        self.writer.write(batch).map_err(|source| TableError {
            path: self.path.clone(),
            source,
        })
    }

    /// Completes the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> Result<(), TableError> {
        let TableWriter { path, writer } = self;
        writer
            .close()
            .map(|_| ())
            .map_err(|source| TableError { path, source })
    }
}
