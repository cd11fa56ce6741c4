//! Which timestamps of one server are taken inside one bucket, exactly.
//!
//! A sorted list while there are few, which is the usual case (60 records of 5 s: appended at its end), and a bitmap of
//! the bucket's milliseconds once the list would be as large as that. So neither memory nor the cost of a record grows
//! beyond step / 8 bytes, whatever order and rate a producer sends in.

/// A set of places `0..step` in a bucket.
#[derive(Debug)]
pub(super) enum Seen {
    /// Ascending.
    Sorted(Vec<u32>),
    /// Bit `p` of the bitmap: place `p` is taken.
    Bits(Vec<u64>),
}

impl Seen {
    pub(super) fn new() -> Seen {
        Seen::Sorted(Vec::new())
    }

    /// Empties the set and keeps a list's memory for the next bucket; a bitmap is the exception and is given back.
    pub(super) fn reset(&mut self) {
        match self {
            Seen::Sorted(places) => places.clear(),
            Seen::Bits(_) => *self = Seen::new(),
        }
    }

    /// Takes a place; `false` when it was taken already. `place` is below `step`.
    #[inline]
    pub(super) fn insert(&mut self, place: u32, step: u32) -> bool {
        let Seen::Sorted(places) = self else {
            return self.insert_bit(place);
        };
        if places.last().is_none_or(|&last| last < place) {
            places.push(place);
        } else {
            match places.binary_search(&place) {
                Ok(_) => return false,
                Err(at) => places.insert(at, place),
            }
        }
        if places.len() > (step / 32) as usize + Self::MIN_SORTED {
            self.spread(step);
        }
        true
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Seen::Sorted(places) => places.capacity() * size_of::<u32>(),
            Seen::Bits(words) => words.capacity() * size_of::<u64>(),
        }
    }

    /// A list up to this long stays a list, also in a very short step.
    const MIN_SORTED: usize = 8;

    #[cold]
    fn spread(&mut self, step: u32) {
        let Seen::Sorted(places) = self else { return };
        let mut words = vec![0u64; step.div_ceil(64) as usize];
        for &mut place in places {
            if let Some(word) = words.get_mut((place / 64) as usize) {
                *word |= 1 << (place % 64);
            }
        }
        *self = Seen::Bits(words);
    }

    fn insert_bit(&mut self, place: u32) -> bool {
        let Seen::Bits(words) = self else {
            return false;
        };
        let Some(word) = words.get_mut((place / 64) as usize) else {
            debug_assert!(false, "place {place} is outside the bucket");
            return false;
        };
        let bit = 1 << (place % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_long_list_becomes_a_bitmap_and_a_reset_gives_it_back() {
        let mut seen = Seen::new();
        for place in 0..18 {
            assert!(seen.insert(place, 320), "{place}");
        }
        assert!(matches!(seen, Seen::Sorted(_)));
        assert!(seen.insert(319, 320));
        assert!(matches!(seen, Seen::Bits(_)));
        assert_eq!(seen.heap_bytes(), 40);
        assert!(!seen.insert(17, 320));
        assert!(!seen.insert(319, 320));
        assert!(seen.insert(18, 320));
        seen.reset();
        assert!(seen.insert(17, 320));
        assert!(matches!(seen, Seen::Sorted(_)));
    }

    proptest! {
        #[test]
        fn it_is_a_set(places in proptest::collection::vec(0u32..200, 0..400)) {
            let (mut seen, mut model) = (Seen::new(), BTreeSet::new());
            for place in places {
                prop_assert_eq!(seen.insert(place, 200), model.insert(place));
            }
        }
    }
}
