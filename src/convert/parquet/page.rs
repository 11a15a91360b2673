//! Inflates the pages of a column and checks them before they are decoded: they hold as many values as they have room for.
//!
//! The Parquet crate makes room for as many values of a dictionary, and lengths of texts, as a page says it has.

use ::parquet::basic::{Compression, Encoding};
use ::parquet::column::page::{Page, PageMetadata, PageReader};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::serialized_reader::SerializedPageReader;

use super::chunk::Chunks;
use super::header::Headers;
use super::inflate::inflate;

/// Values of a dictionary, for each of which there is room in memory; writers give dictionaries up far earlier.
const MAX_DICTIONARY: u32 = 1 << 23;
/// Lengths of texts in a page.
const MAX_LENGTHS: u64 = 1 << 24;
/// Values per byte that the encoding of differences can hold with any sense: writers put 128 into 5 bytes at least.
const MAX_PER_BYTE: u64 = 64;

/// The pages of a flat column.
pub(super) struct Pages {
    /// As they are stored.
    pages: SerializedPageReader<Chunks>,
    headers: Headers,
    codec: Compression,
    is_optional: bool,
}

impl Pages {
    /// Those of `pages`, which `codec` compressed and `headers` describe.
    pub(super) fn new(
        pages: SerializedPageReader<Chunks>,
        headers: Headers,
        codec: Compression,
        is_optional: bool,
    ) -> Self {
        Self {
            pages,
            headers,
            codec,
            is_optional,
        }
    }

    /// `page` without compression.
    fn inflated(&self, mut page: Page) -> Result<Page> {
        if self.codec == Compression::UNCOMPRESSED {
            return Ok(page);
        }
        match &mut page {
            Page::DictionaryPage { buf, .. } | Page::DataPage { buf, .. } => {
                *buf = inflate(self.codec, buf)?.into();
            }
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed: true,
                ..
            } => {
                // Levels are not compressed.
                let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                let levels = usize::try_from(levels).ok();
                let (levels, values) = levels
                    .and_then(|levels| buf.split_at_checked(levels))
                    .ok_or_else(|| damaged("a page is shorter than its levels"))?;
                let values = inflate(self.codec, values)?;
                *buf = [levels, &values].concat().into();
            }
            Page::DataPageV2 { .. } => {}
        }
        Ok(page)
    }

    fn check(&self, page: &Page) -> Result<()> {
        let buffer = page.buffer();
        match page {
            Page::DictionaryPage { num_values, .. } => {
                if u64::from(*num_values) > buffer.len() as u64 {
                    return Err(damaged("a dictionary claims more values than it has bytes"));
                }
                if *num_values > MAX_DICTIONARY {
                    return Err(damaged("a dictionary has more than 8,388,608 values"));
                }
                Ok(())
            }
            Page::DataPage {
                encoding,
                num_values,
                def_level_encoding,
                ..
            } => {
                let levels = match (self.is_optional, def_level_encoding) {
                    (false, _) => 0,
                    (true, Encoding::RLE) => {
                        let length = buffer.first_chunk().copied().map_or(0, u32::from_le_bytes);
                        u64::from(length) + 4
                    }
                    (true, _) => u64::from(num_values.div_ceil(8)),
                };
                check_differences(*encoding, buffer, levels)
            }
            Page::DataPageV2 {
                encoding,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                check_differences(*encoding, buffer, levels)
            }
        }
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let Some(page) = self.pages.get_next_page()? else {
            return Ok(None);
        };
        let claimed = self.headers.next_size()?;
        let page = self.inflated(page)?;
        let found = page.buffer().len();
        if found as u64 != claimed {
            return Err(damaged(&format!(
                "a page has {found} bytes without compression, its header says {claimed}"
            )));
        }
        self.check(&page)?;
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.headers.next_size()?;
        self.pages.skip_next_page()
    }
}

fn damaged(reason: &str) -> ParquetError {
    ParquetError::General(reason.to_owned())
}

/// Looks at the lists of lengths in the values of a page, which begin behind its `levels` bytes of levels.
fn check_differences(encoding: Encoding, page: &[u8], levels: u64) -> Result<()> {
    let lists = match encoding {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
        Encoding::DELTA_BYTE_ARRAY => 2,
        _ => return Ok(()),
    };
    let begin = usize::try_from(levels).ok();
    let mut values = begin
        .and_then(|begin| page.get(begin..))
        .unwrap_or_default();
    if values.is_empty() {
        return Ok(());
    }
    for _ in 0..lists {
        let rest = after_differences(values);
        values = rest.ok_or_else(|| damaged("a page claims more lengths than it has room for"))?;
    }
    Ok(())
}

/// What stands behind a list of integers that is encoded as differences; `None` if it has more than fit, or ends early.
fn after_differences(list: &[u8]) -> Option<&[u8]> {
    let mut rest = list;
    let block = unsigned(&mut rest)?;
    let parts = unsigned(&mut rest)?;
    let count = unsigned(&mut rest)?;
    unsigned(&mut rest)?;
    let per_part = block.checked_div(parts)?;
    let most = MAX_PER_BYTE.checked_mul(list.len() as u64)?;
    if count > most.min(MAX_LENGTHS) || per_part == 0 {
        return None;
    }
    let mut left = count.saturating_sub(1);
    while left > 0 {
        unsigned(&mut rest)?;
        let (widths, after) = rest.split_at_checked(usize::try_from(parts).ok()?)?;
        rest = after;
        for &width in widths {
            if left == 0 {
                break;
            }
            let bytes = per_part.checked_mul(u64::from(width))?.div_ceil(8);
            // Some writers leave out the end of the last part.
            let bytes = usize::try_from(bytes).ok()?.min(rest.len());
            rest = &rest[bytes..];
            left = left.saturating_sub(per_part);
        }
    }
    Some(rest)
}

fn unsigned(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of 128 in 4 parts, so many values, the first 0, then one block of differences of 0 bits.
    fn list(count: &[u8]) -> Vec<u8> {
        let begin = [0x80, 1, 4].into_iter().chain(count.iter().copied());
        begin.chain([0, 0, 0, 0, 0, 0]).collect()
    }

    #[test]
    fn lists_end_where_their_differences_do() {
        let mut two = list(&[100]);
        two.extend(b"text");
        assert_eq!(after_differences(&two), Some(&b"text"[..]));
        assert_eq!(after_differences(&list(&[0x81, 1])), Some(&[][..]));
        assert_eq!(
            after_differences(&list(&[0x82, 1])),
            None,
            "a block is missing"
        );
        // With differences of 2 bits a part of 32 has 8 bytes.
        let wide = [0x80, 1, 4, 40, 0, 0, 2, 2, 0, 0];
        let wide: Vec<u8> = wide.into_iter().chain(0..20).collect();
        assert_eq!(after_differences(&wide), Some(&[16, 17, 18, 19][..]));
    }

    #[test]
    fn lists_longer_than_their_bytes_allow_are_refused() {
        let huge = list(&[0xff, 0xff, 0xff, 0xff, 7]);
        assert_eq!(after_differences(&huge), None);
        assert!(check_differences(Encoding::DELTA_BYTE_ARRAY, &huge, 0).is_err());
        assert!(check_differences(Encoding::DELTA_LENGTH_BYTE_ARRAY, &huge, 0).is_err());
        assert!(check_differences(Encoding::PLAIN, &huge, 0).is_ok());
        let mut long = list(&[0x81, 0x80, 0x80, 8]);
        long.resize(1 << 21, 0);
        assert_eq!(after_differences(&long), None, "2^24 + 1 of no bits");
        assert_eq!(after_differences(&[0x80, 1, 0, 1, 0]), None, "no parts");
        assert_eq!(after_differences(&[0, 4, 9, 0]), None, "empty parts");
    }
}
