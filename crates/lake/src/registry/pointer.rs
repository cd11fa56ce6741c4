//! The production pointer: numbered create-only objects, of which the highest counts.

use object_store::ObjectStore;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::{PRODUCTION, ROOT, RegistryError, check_name, corrupt, failed};
use super::{list_names, read_json, to_json};
use crate::store::{Created, create, random_hex};

/// One promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Production {
    /// Its number, from 1.
    pub number: u64,
    /// The version that is served from here on.
    pub version: String,
    /// The one before.
    pub previous: Option<String>,
    /// When, ms.
    pub at: i64,
    /// Why, in words.
    pub reason: String,
    /// Tells our own write from somebody else's of the same number.
    writer: String,
}

fn pointer_path(number: u64) -> Path {
    Path::from(ROOT)
        .join(PRODUCTION)
        .join(format!("{number:020}.json"))
}

fn number_in(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

async fn numbers(store: &dyn ObjectStore) -> Result<Vec<u64>, RegistryError> {
    let names = list_names(store, &Path::from(ROOT).join(PRODUCTION)).await?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_in(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

async fn read_pointer(store: &dyn ObjectStore, number: u64) -> Result<Production, RegistryError> {
    let path = pointer_path(number);
    let pointer: Option<Production> = read_json(store, &path).await?;
    let pointer = pointer.ok_or_else(|| corrupt(&path, "vanished"))?;
    check_name(&pointer.version).map_err(|error| corrupt(&path, error))?;
    if pointer.number != number {
        return Err(corrupt(&path, format!("it says number {}", pointer.number)));
    }
    Ok(pointer)
}

pub(super) async fn highest(store: &dyn ObjectStore) -> Result<Option<Production>, RegistryError> {
    match numbers(store).await?.last() {
        Some(&number) => read_pointer(store, number).await.map(Some),
        None => Ok(None),
    }
}

pub(super) async fn history(store: &dyn ObjectStore) -> Result<Vec<Production>, RegistryError> {
    let mut pointers = Vec::new();
    for number in numbers(store).await? {
        pointers.push(read_pointer(store, number).await?);
    }
    Ok(pointers)
}

pub(super) async fn promote(
    store: &dyn ObjectStore,
    version: &str,
    after: u64,
    at_ms: i64,
    reason: &str,
) -> Result<Production, RegistryError> {
    let current = highest(store).await?;
    if let Some(current) = current.as_ref().filter(|current| current.number != after) {
        return Err(taken(current));
    }
    if current.is_none() && after != 0 {
        return Err(RegistryError::Conflict {
            object: pointer_path(after).to_string(),
            reason: "no version is in production".to_owned(),
        });
    }
    let next = Production {
        number: after.saturating_add(1),
        version: version.to_owned(),
        previous: current.map(|current| current.version),
        at: at_ms,
        reason: reason.to_owned(),
        writer: random_hex(),
    };
    let path = pointer_path(next.number);
    let created = create(store, &path, to_json(&path, &next)?).await;
    match created.map_err(|source| failed(&path, source))? {
        Created::New => Ok(next),
        Created::Exists => {
            let found = read_pointer(store, next.number).await?;
            if found.writer == next.writer {
                Ok(next)
            } else {
                Err(taken(&found))
            }
        }
    }
}

fn taken(found: &Production) -> RegistryError {
    RegistryError::Conflict {
        object: pointer_path(found.number).to_string(),
        reason: format!("{} was promoted in the meantime", found.version),
    }
}
