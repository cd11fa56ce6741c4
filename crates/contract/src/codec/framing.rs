//! What stands before the body: which schema wrote it.

use std::collections::HashMap;

use super::DecodeError;

/// Single-object encoding's first bytes.
const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];

/// Confluent schema ids whose schema is known, by the schema's CRC-64-AVRO fingerprint (little-endian).
#[derive(Debug, Clone, Default)]
pub struct SchemaIds(HashMap<u32, [u8; 8]>);

impl SchemaIds {
    /// Says which schema an id stands for.
    pub fn insert(&mut self, id: u32, fingerprint: [u8; 8]) {
        self.0.insert(id, fingerprint);
    }
}

/// The body of a value that was written with the schema of these fingerprints.
pub(super) fn body<'a>(
    value: &'a [u8],
    expected: &[[u8; 8]; 2],
    ids: &SchemaIds,
    limit: usize,
) -> Result<&'a [u8], DecodeError> {
    if value.len() > limit {
        return Err(DecodeError::TooLarge {
            found: value.len(),
            limit,
        });
    }
    let (fingerprint, body) = match value {
        [] => return Err(DecodeError::Empty),
        [0xC3, 0x01, rest @ ..] => split::<8>(rest)?,
        [0x00, rest @ ..] => {
            let (id, body) = split::<4>(rest)?;
            let id = u32::from_be_bytes(id);
            let known = ids.0.get(&id).ok_or(DecodeError::UnknownSchemaId(id))?;
            (*known, body)
        }
        _ => return Err(DecodeError::UnknownFraming),
    };
    if !expected.contains(&fingerprint) {
        return Err(DecodeError::UnknownFingerprint(fingerprint));
    }
    Ok(body)
}

fn split<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), DecodeError> {
    bytes
        .split_first_chunk::<N>()
        .map(|(head, rest)| (*head, rest))
        .ok_or_else(|| DecodeError::Malformed("ends within the framing".to_owned()))
}

/// Appends the header of single-object encoding.
pub(super) fn write_header(fingerprint: &[u8; 8], out: &mut Vec<u8>) {
    out.extend_from_slice(&SINGLE_OBJECT);
    out.extend_from_slice(fingerprint);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const OURS: [[u8; 8]; 2] = [[1, 2, 3, 4, 5, 6, 7, 8], [5; 8]];

    #[track_caller]
    fn check(value: &[u8], expected: Result<&[u8], &str>) {
        let mut ids = SchemaIds::default();
        ids.insert(7, OURS[0]);
        ids.insert(8, [9; 8]);
        let found = body(value, &OURS, &ids, 20);
        assert_eq!(
            found.as_ref().map_err(DecodeError::reason).copied(),
            expected
        );
    }

    #[test]
    fn both_framings_are_read() {
        check(&[0xC3, 1, 1, 2, 3, 4, 5, 6, 7, 8, 42], Ok(&[42]));
        check(&[0xC3, 1, 1, 2, 3, 4, 5, 6, 7, 8], Ok(&[]));
        check(&[0xC3, 1, 5, 5, 5, 5, 5, 5, 5, 5, 42], Ok(&[42]));
        check(&[0, 0, 0, 0, 7, 42, 43], Ok(&[42, 43]));
    }

    #[test]
    fn what_is_not_known_is_named() {
        check(&[], Err("empty_value"));
        check(&[0, 0, 0, 0, 9, 42], Err("unknown_schema_id"));
        check(&[0, 0, 0, 0, 8, 42], Err("unknown_fingerprint"));
        check(
            &[0xC3, 1, 8, 7, 6, 5, 4, 3, 2, 1, 42],
            Err("unknown_fingerprint"),
        );
        check(b"{\"server\":1}", Err("unknown_framing"));
        check(&[0xC3], Err("unknown_framing"));
        check(&[0xC3, 2, 1, 2, 3, 4, 5, 6, 7, 8], Err("unknown_framing"));
        check(&[0xC3, 1, 1, 2, 3, 4, 5, 6, 7], Err("malformed"));
        check(&[0, 0, 0, 7], Err("malformed"));
        check(&[0], Err("malformed"));
        check(&[0; 21], Err("too_large"));
    }

    #[test]
    fn schema_ids_are_big_endian() {
        assert_eq!(
            body(&[0, 1, 2, 3, 4], &OURS, &SchemaIds::default(), 100),
            Err(DecodeError::UnknownSchemaId(0x0102_0304))
        );
    }
}
