//! Checks the footer of a Parquet file before it is parsed: the schema has the children it claims, and is not deep.
//!
//! The Parquet crate makes room for as many children as a schema element says it has, and calls itself once per level.

use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::{ChunkReader, Length};

use super::chunk::Chunks;
use super::thrift::{Cursor, INTEGER, LIST, STRUCT};

/// Magic and length at the end of a file.
const TAIL: usize = 8;
/// Levels of a schema.
const MAX_DEPTH: usize = 64;
/// The field of the footer that holds the schema, and that of an element that holds the number of its children.
const SCHEMA: i64 = 2;
const CHILDREN: i64 = 5;

/// Whether the schema in the footer is one that can be parsed.
///
/// # Errors
/// When it cannot, or the file ends too early.
pub(super) fn check(chunks: &Chunks) -> Result<()> {
    let size = chunks.len();
    let begin = size.checked_sub(TAIL as u64);
    let begin = begin.ok_or_else(|| damaged("it is too short"))?;
    let tail = chunks.get_bytes(begin, TAIL)?;
    let length = tail.first_chunk().copied().map_or(0, u32::from_le_bytes);
    if &tail[4..] == b"PARE" {
        return Err(damaged("its footer is encrypted, which is not supported"));
    }
    if &tail[4..] != super::super::format::PARQUET {
        return Err(damaged("it does not end with `PAR1`: is it cut off?"));
    }
    let start = begin.checked_sub(u64::from(length));
    let start = start.ok_or_else(|| damaged("its footer is longer than the file"))?;
    let footer = chunks.get_bytes(start, length as usize)?;
    check_schema(&footer)
}

fn damaged(reason: &str) -> ParquetError {
    ParquetError::General(reason.to_owned())
}

fn check_schema(footer: &[u8]) -> Result<()> {
    let mut cursor = Cursor(footer);
    let mut elements = None;
    cursor
        .fields(0, &mut |cursor, field, kind, depth| {
            if field == SCHEMA && kind == LIST {
                elements = Some(children(cursor, depth)?);
                return Some(());
            }
            cursor.skip(kind, depth)
        })
        .ok_or_else(|| damaged("its footer cannot be read"))?;
    let elements = elements.ok_or_else(|| damaged("its footer holds no schema"))?;
    // How many children are still to come of every element above.
    let mut above: Vec<u64> = Vec::new();
    for (place, &children) in elements.iter().enumerate() {
        if children > (elements.len() - place) as u64 {
            return Err(damaged(
                "an element of its schema has more children than there are",
            ));
        }
        while above.last() == Some(&0) {
            above.pop();
        }
        if let Some(left) = above.last_mut() {
            *left -= 1;
        }
        above.push(children);
        if above.len() > MAX_DEPTH {
            return Err(damaged("its schema is nested more than 64 levels deep"));
        }
    }
    Ok(())
}

/// The numbers of children of the schema's elements, which `list` has.
fn children(list: &mut Cursor<'_>, depth: usize) -> Option<Vec<u64>> {
    let (length, kind) = list.list()?;
    let mut all = Vec::new();
    for _ in 0..length {
        let mut children = 0;
        if kind != STRUCT {
            return None;
        }
        list.fields(depth, &mut |cursor, field, kind, depth| {
            if field != CHILDREN || kind != INTEGER {
                return cursor.skip(kind, depth);
            }
            children = u64::try_from(cursor.signed()?).ok()?;
            Some(())
        })?;
        all.push(children);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer whose schema has elements with so many children.
    fn footer(children: &[u8]) -> Vec<u8> {
        let length = u8::try_from(children.len()).unwrap();
        // Version 1, then the schema: a list of structures.
        let mut bytes = vec![0x15, 2, 0x19, 0xfc, length];
        for &children in children {
            bytes.extend([0x48, 1, b'x', 0x15, 2 * children, 0]);
        }
        bytes.push(0);
        bytes
    }

    fn outcome(footer: &[u8]) -> String {
        check_schema(footer).map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn children_that_are_there_are_fine() {
        assert_eq!(outcome(&footer(&[2, 0, 0])), "fine");
        assert_eq!(outcome(&footer(&[2, 1, 0, 0])), "fine");
    }

    #[test]
    fn children_that_cannot_be_and_depths_are_refused() {
        assert!(outcome(&footer(&[63, 0, 0])).contains("more children than there are"));
        let mut deep = vec![1; 100];
        deep.push(0);
        assert!(outcome(&footer(&deep)).contains("more than 64 levels"));
        assert!(outcome(&[0x15, 2, 0]).contains("no schema"));
        let whole = footer(&[2, 0, 0]);
        for cut in 0..whole.len() {
            assert!(outcome(&whole[..cut]).contains("cannot be read"), "{cut}");
        }
        // Structures in structures, a list longer than the footer, a list of what is no kind.
        assert!(outcome(&[0x1c; 1000]).contains("cannot be read"));
        assert!(outcome(&[0x39, 0xf5, 0xff, 0xff, 0xff, 0x7f, 0]).contains("cannot be read"));
        assert!(outcome(&[0x39, 0xff, 0xff, 0xff, 0xff, 0x7f, 0]).contains("cannot be read"));
    }
}
