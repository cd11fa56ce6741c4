//! One record of `metrics` or `rollups`, read where it lies: names borrow from the value, numbers go to a reused buffer.
//!
//! serde_avro_fast decides what is a record: whatever the short way below does not take is its to accept or to refuse.
//! The short way reads the encoding that every writer produces (no overlong numbers), several times as fast; a property
//! test holds it against the library.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_avro_fast::de::{DeserializerState, read::SliceRead};

use super::{DecodeError, malformed};
use crate::domain::Contract;
use crate::topic::Topic;

/// What a field of the schema is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Server,
    Timestamp,
    /// Nullable.
    Profile,
    RequiredProfile,
    State,
    NumRecords,
    Contract,
    Metric,
}

/// One record, without its metric values.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FlatRow<'a> {
    pub(super) server: &'a str,
    pub(super) timestamp: i64,
    pub(super) profile: Option<&'a str>,
    pub(super) state: Option<&'a str>,
    pub(super) num_records: i32,
    pub(super) contract: &'a str,
}

/// The fields of a topic in schema order; `None` for a topic that is not flat.
pub(super) fn slots(topic: Topic, contract: &Contract) -> Option<Vec<Slot>> {
    let mut slots = vec![Slot::Server, Slot::Timestamp];
    match topic {
        Topic::Metrics | Topic::MetricsDlq => {
            slots.extend([Slot::Profile, Slot::State]);
            slots.extend(contract.raw_metrics().iter().map(|_| Slot::Metric));
        }
        Topic::Rollups => {
            slots.extend([Slot::RequiredProfile, Slot::State, Slot::NumRecords]);
            slots.extend(contract.metrics.iter().map(|_| Slot::Metric));
            slots.push(Slot::Contract);
        }
        _ => return None,
    }
    Some(slots)
}

/// Reads a body; `values` is replaced by the metric values, `None` for null.
pub(super) fn read<'a>(
    schema: &serde_avro_fast::Schema,
    slots: &[Slot],
    body: &'a [u8],
    values: &mut Vec<Option<f32>>,
) -> Result<FlatRow<'a>, DecodeError> {
    values.clear();
    if let Some(row) = read_plain(slots, body, values) {
        return Ok(row);
    }
    read_any(schema, slots, body, values)
}

/// The library's way.
fn read_any<'a>(
    schema: &serde_avro_fast::Schema,
    slots: &[Slot],
    body: &'a [u8],
    values: &mut Vec<Option<f32>>,
) -> Result<FlatRow<'a>, DecodeError> {
    values.clear();
    let mut state = DeserializerState::from_slice(body, schema);
    let seed = RowSeed { slots, values };
    let row = seed
        .deserialize(state.deserializer())
        .map_err(|e| malformed(&e))?;
    no_rest(state.into_reader())?;
    Ok(row)
}

/// The short way; `None` for anything out of the ordinary, `values` is then of no use.
fn read_plain<'a>(
    slots: &[Slot],
    body: &'a [u8],
    values: &mut Vec<Option<f32>>,
) -> Option<FlatRow<'a>> {
    let mut cursor = Cursor(body);
    let mut row = FlatRow::default();
    for slot in slots {
        match slot {
            Slot::Metric => values.push(cursor.nullable(Cursor::float)?),
            Slot::Server => row.server = cursor.text()?,
            Slot::Timestamp => row.timestamp = cursor.long()?,
            Slot::Profile => row.profile = cursor.nullable(Cursor::text)?,
            Slot::RequiredProfile => row.profile = Some(cursor.text()?),
            Slot::State => row.state = cursor.nullable(Cursor::text)?,
            Slot::NumRecords => row.num_records = i32::try_from(cursor.long()?).ok()?,
            Slot::Contract => row.contract = cursor.text()?,
        }
    }
    cursor.0.is_empty().then_some(row)
}

/// What is left of a body.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A zigzag varint of at most 9 bytes: the tenth is left to the library.
    #[inline]
    fn long(&mut self) -> Option<i64> {
        let mut zigzag = 0_u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            zigzag |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
            }
        }
        None
    }

    #[inline]
    fn float(&mut self) -> Option<f32> {
        let (bytes, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(f32::from_le_bytes(*bytes))
    }

    #[inline]
    fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.long()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(bytes).ok()
    }

    /// A union whose first branch is null.
    #[inline]
    fn nullable<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            2 => Some(Some(read(self)?)),
            _ => None,
        }
    }
}

/// All bytes must have been read.
pub(super) fn no_rest(mut reader: SliceRead<'_>) -> Result<(), DecodeError> {
    let rest = std::io::BufRead::fill_buf(&mut reader).map_err(|e| malformed(&e))?;
    if rest.is_empty() {
        Ok(())
    } else {
        Err(DecodeError::TrailingBytes(rest.len()))
    }
}

struct RowSeed<'r> {
    slots: &'r [Slot],
    values: &'r mut Vec<Option<f32>>,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = FlatRow<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<FlatRow<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = FlatRow<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a flat record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FlatRow<'de>, A::Error> {
        let mut row = FlatRow::default();
        // The schema is ours, so its fields come in the order of the slots: names need no comparing.
        for slot in self.slots {
            if map.next_key::<IgnoredAny>()?.is_none() {
                break;
            }
            match slot {
                Slot::Metric => self.values.push(map.next_value()?),
                Slot::Server => row.server = map.next_value()?,
                Slot::Timestamp => row.timestamp = map.next_value()?,
                Slot::Profile => row.profile = map.next_value()?,
                Slot::RequiredProfile => row.profile = Some(map.next_value()?),
                Slot::State => row.state = map.next_value()?,
                Slot::NumRecords => row.num_records = map.next_value()?,
                Slot::Contract => row.contract = map.next_value()?,
            }
        }
        Ok(row)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::{Encoder, RollupRow, Wire};
    use crate::schema::record_of;

    type Row = (Vec<Option<u32>>, String);

    /// Both ways over the same bytes; NaN is compared by its bits.
    fn both(topic: Topic, body: &[u8]) -> (Option<Row>, Option<Row>) {
        let contract = Contract::shipped("vm").unwrap();
        let wire = Wire::new(&record_of(topic, &contract)).unwrap();
        let slots = slots(topic, &contract).unwrap();
        let bits = |values: &[Option<f32>]| values.iter().map(|v| v.map(f32::to_bits)).collect();
        let mut values = Vec::new();
        let plain = read_plain(&slots, body, &mut values).map(|row| format!("{row:?}"));
        let plain = plain.map(|row| (bits(&values), row));
        let library = read_any(&wire.schema, &slots, body, &mut values).ok();
        let library = library.map(|row| (bits(&values), format!("{row:?}")));
        (plain, library)
    }

    fn rollup(server: &str, timestamp: i64, num_records: i32, values: &[f32]) -> Vec<u8> {
        let contract = Contract::shipped("vm").unwrap();
        let row = RollupRow {
            server,
            timestamp,
            profile: "vm",
            state: None,
            num_records,
            values,
        };
        let mut out = Vec::new();
        Encoder::new(&contract)
            .unwrap()
            .encode_rollup(&row, &mut out)
            .unwrap();
        out.split_off(10)
    }

    #[test]
    fn what_the_short_way_leaves_out_the_library_reads() {
        // Its varint has ten bytes.
        let (plain, library) = both(Topic::Rollups, &rollup("a", i64::MIN, 1, &[0.5; 6]));
        assert_eq!(plain, None);
        assert!(library.unwrap().1.contains("-9223372036854775808"));
        // An overlong 0 for null: legal, if odd.
        let body = rollup("a", 0, 1, &[f32::NAN; 6]);
        let at = 2 + 1 + 3;
        assert_eq!(body[at], 0, "the state");
        let overlong = [&body[..at], &[0x80, 0], &body[at + 1..]].concat();
        let (plain, library) = both(Topic::Rollups, &overlong);
        assert_eq!(plain, None);
        assert_eq!(library, both(Topic::Rollups, &body).0);
    }

    proptest! {
        /// On what writers write, the short way is taken and agrees.
        #[test]
        fn rows_are_read_the_short_way(
            server in "\\PC{0,9}",
            timestamp in -(1_i64 << 61)..1 << 61,
            num_records in 0..i32::MAX,
            values in proptest::collection::vec(proptest::num::f32::ANY, 6),
        ) {
            let (plain, library) = both(Topic::Rollups, &rollup(&server, timestamp, num_records, &values));
            prop_assert!(plain.is_some());
            prop_assert_eq!(plain, library);
        }

        /// Whatever the short way takes, the library takes too, with the same result.
        #[test]
        fn the_short_way_takes_nothing_of_its_own(
            position in 0_usize..200,
            byte in proptest::num::u8::ANY,
            cut in proptest::option::of(0_usize..200),
        ) {
            let mut body = rollup("server", 1_376_314_800_000, 60, &[1.0, 2.0, f32::NAN, 0.0, 5.0, 6.0]);
            let len = body.len();
            body[position % len] = byte;
            body.truncate(cut.map_or(len, |cut| cut % len));
            let (plain, library) = both(Topic::Rollups, &body);
            if plain.is_some() {
                prop_assert_eq!(plain, library);
            }
        }

        /// The same for any bytes.
        #[test]
        fn nor_from_any_bytes(body in proptest::collection::vec(0_u8..8, 0..60)) {
            for topic in [Topic::Metrics, Topic::Rollups] {
                let (plain, library) = both(topic, &body);
                if plain.is_some() {
                    prop_assert_eq!(plain, library);
                }
            }
        }
    }
}
