//! The groups of rows that GAUC ranks within: those that share an id, which is a number or text.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64;

use crate::batch::{HostTensor, HostValues};

/// The group of each of `rows` rows, where `ids` holds one id for each: an integer is the group itself, text counts by
/// its XXH3 hash (64 bits, no seed), which is the same in every run and on every rank.
pub(super) fn of(ids: Option<&HostTensor>, rows: usize) -> Option<Cow<'_, [i64]>> {
    let groups: Cow<'_, [i64]> = match &ids?.values {
        HostValues::I64(numbers) => numbers.into(),
        HostValues::Bytes(texts) => texts.iter().map(|text| hash(text)).collect(),
        _ => return None,
    };
    (groups.len() == rows).then_some(groups)
}

fn hash(text: &[u8]) -> i64 {
    xxh3_64(text).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(values: HostValues, rows: usize) -> Option<Vec<i64>> {
        let shape = vec![rows, 1];
        of(Some(&HostTensor { shape, values }), rows).map(Cow::into_owned)
    }

    #[test]
    fn rows_with_the_same_id_are_a_group_whether_it_is_a_number_or_text() {
        assert_eq!(
            groups(HostValues::I64(vec![7, 8, 7]), 3),
            Some(vec![7, 8, 7])
        );
        let texts = ["a9", "b", "a9"].map(|text| text.as_bytes().to_vec());
        let found = groups(HostValues::Bytes(texts.to_vec()), 3).unwrap();
        assert_eq!(found[0], found[2]);
        assert_ne!(found[0], found[1]);
        // Stored sums of groups depend on it.
        assert_eq!(hash(b"a9"), hash(b"a9"));
        assert_eq!(hash(b""), 3_244_421_341_483_603_138);
    }

    #[test]
    fn what_is_no_id_per_row_is_no_group() {
        assert_eq!(groups(HostValues::I64(vec![1, 2, 3, 4]), 2), None);
        assert_eq!(groups(HostValues::F32(vec![1.0, 2.0]), 2), None);
        assert_eq!(of(None, 2), None);
    }
}
