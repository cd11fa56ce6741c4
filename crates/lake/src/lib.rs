//! What is kept: the parquet archive of every topic, the rows a model is trained on, and the model registry.
//!
//! * [`store`]: from a URL to an object store, and the probe of what everything here stands on, conditional create.
//! * [`archive`]: one chain of parquet objects per topic and partition; [`archive::Chain`] writes it, [`verify`] walks it.
//! * [`training`]: rollups from the archive or from record files as dense per-server grids.
//! * [`records`]: record files (parquet), read and written in a stream.
//! * [`registry`]: immutable model versions, their checksums and the production pointer.
//! * [`rows`]: serde rows to parquet bytes and back. [`tables`]: a parquet file of any columns, for data people.
//!
//! Invariants: `chain-whole` (the objects of a partition are contiguous and do not overlap), `nothing-lost` (a record
//! is in exactly one object), `served-is-registered` (a version's files match the checksums of its manifest).
//!
//! It is not: a query engine (DuckDB, Spark, DataFusion and pandas read the files as they are), nor a wrapper around
//! [`object_store::ObjectStore`], which is passed through as it is.

pub mod archive;
pub mod records;
pub mod registry;
pub mod rows;
pub mod store;
pub mod tables;
pub mod training;
pub mod verify;

pub use object_store::ObjectStore;

#[cfg(test)]
mod testing;
