//! A tensor of a manifest once it has been checked: its pieces cover it without a gap and without an overlap.

use std::path::{Component, Path};

use tch::Kind;

use super::manifest::{Chunk, ChunkedEntry, Entry, TensorEntry};

/// A tensor and where its bytes are.
#[derive(Debug)]
pub(super) struct StoredTensor {
    pub(super) kind: Kind,
    /// No size is negative.
    pub(super) shape: Vec<i64>,
    pub(super) pieces: Vec<Piece>,
}

/// Bytes of a file, and what they are of a tensor.
#[derive(Debug)]
pub(super) struct Piece {
    /// Relative, and without a way up.
    pub(super) location: String,
    /// From and to; `None`: the whole file.
    pub(super) range: Option<(u64, u64)>,
    /// As many as these.
    pub(super) bytes: u64,
    /// The first of the rows along the first dimension, and how many; `None`: the whole tensor.
    pub(super) rows: Option<(i64, i64)>,
}

impl StoredTensor {
    /// What `entry` describes; `None` where it is no tensor. Says what cannot be.
    pub(super) fn of(entry: Entry) -> Result<Option<Self>, String> {
        match entry {
            Entry::Tensor(entry) => Self::single(entry).map(Some),
            Entry::ChunkedTensor(entry) => Self::chunked(entry).map(Some),
            Entry::Other => Ok(None),
        }
    }

    fn single(entry: TensorEntry) -> Result<Self, String> {
        Ok(Self {
            kind: kind_of(&entry.dtype)?,
            shape: entry.shape.clone(),
            pieces: vec![Piece::of(entry, None)?],
        })
    }

    fn chunked(mut entry: ChunkedEntry) -> Result<Self, String> {
        let kind = kind_of(&entry.dtype)?;
        bytes_of(&entry.shape, kind)?;
        entry.chunks.sort_by(|a, b| a.offsets.cmp(&b.offsets));
        let mut next = 0;
        let mut pieces = Vec::new();
        for chunk in entry.chunks {
            let rows = rows_of(&chunk, &entry.shape, &entry.dtype)?;
            let (first, count) = rows.unwrap_or((0, 1));
            if first != next {
                let what = if first > next {
                    "missing"
                } else {
                    "there twice"
                };
                let (from, to) = (next.min(first), next.max(first));
                return Err(format!("rows {from}..{to} are {what} in its chunks"));
            }
            next = first
                .checked_add(count)
                .ok_or("its chunks are larger than any tensor")?;
            pieces.push(Piece::of(chunk.tensor, rows)?);
        }
        let size = entry.shape.first().copied().unwrap_or(1);
        if next != size {
            return Err(format!("its chunks hold {next} of {size} rows"));
        }
        Ok(Self {
            kind,
            shape: entry.shape,
            pieces,
        })
    }
}

/// The rows of a chunk, which is all of them in every dimension but the first; `None` where the tensor is a scalar.
fn rows_of(chunk: &Chunk, shape: &[i64], dtype: &str) -> Result<Option<(i64, i64)>, String> {
    let Chunk {
        offsets,
        sizes,
        tensor,
    } = chunk;
    if tensor.dtype != dtype || tensor.shape != *sizes {
        return Err(format!(
            "a chunk of {sizes:?} of {dtype} holds {:?} of {}",
            tensor.shape, tensor.dtype
        ));
    }
    let (Some((first, offsets)), Some((count, sizes)), Some((_, others))) = (
        offsets.split_first(),
        sizes.split_first(),
        shape.split_first(),
    ) else {
        return match offsets.is_empty() && sizes.is_empty() && shape.is_empty() {
            true => Ok(None),
            false => Err(format!(
                "a chunk of {sizes:?} at {offsets:?} is none of {shape:?}"
            )),
        };
    };
    if offsets.len() != others.len() || offsets.iter().any(|offset| *offset != 0) || sizes != others
    {
        return Err(format!(
            "a chunk of {:?} at {:?} is no rows of {shape:?}",
            chunk.sizes, chunk.offsets
        ));
    }
    Ok(Some((*first, *count)))
}

impl Piece {
    fn of(entry: TensorEntry, rows: Option<(i64, i64)>) -> Result<Self, String> {
        if entry.serializer != "buffer_protocol" {
            return Err(format!(
                "serializer {:?} is not supported, only buffer_protocol",
                entry.serializer
            ));
        }
        let mut parts = Path::new(&entry.location).components();
        if entry.location.is_empty() || !parts.all(|part| matches!(part, Component::Normal(_))) {
            return Err(format!(
                "location {:?} is outside the folder",
                entry.location
            ));
        }
        let bytes = bytes_of(&entry.shape, kind_of(&entry.dtype)?)?;
        let range = entry.byte_range;
        if let Some((begin, end)) =
            range.filter(|(begin, end)| end.checked_sub(*begin) != Some(bytes))
        {
            return Err(format!(
                "bytes {begin}..{end} cannot hold {:?} of {}, {bytes} bytes",
                entry.shape, entry.dtype
            ));
        }
        Ok(Self {
            location: entry.location,
            range,
            bytes,
            rows,
        })
    }

    /// The shape of the piece of a tensor of `shape`.
    pub(super) fn shape_in(&self, shape: &[i64]) -> Vec<i64> {
        let mut own = shape.to_vec();
        if let (Some((_, count)), Some(first)) = (self.rows, own.first_mut()) {
            *first = count;
        }
        own
    }
}

fn kind_of(dtype: &str) -> Result<Kind, String> {
    Ok(match dtype {
        "torch.float32" => Kind::Float,
        "torch.float64" => Kind::Double,
        "torch.float16" => Kind::Half,
        "torch.bfloat16" => Kind::BFloat16,
        "torch.int64" => Kind::Int64,
        "torch.int32" => Kind::Int,
        "torch.uint8" => Kind::Uint8,
        "torch.bool" => Kind::Bool,
        _ => return Err(format!("type {dtype:?} is not supported")),
    })
}

/// Bytes of a tensor; none has more than an `i64` counts.
fn bytes_of(shape: &[i64], kind: Kind) -> Result<u64, String> {
    let size = i64::try_from(kind.elt_size_in_bytes()).unwrap_or(i64::MAX);
    let bytes = shape.iter().try_fold(size, |bytes, &dim| {
        bytes.checked_mul((dim >= 0).then_some(dim)?)
    });
    let bytes = bytes.and_then(|bytes| u64::try_from(bytes).ok());
    bytes.ok_or_else(|| format!("no tensor has the shape {shape:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(shape: &[i64]) -> TensorEntry {
        TensorEntry {
            location: "a".to_owned(),
            serializer: "buffer_protocol".to_owned(),
            dtype: "torch.float32".to_owned(),
            shape: shape.to_vec(),
            byte_range: None,
        }
    }

    /// Offsets and sizes of a chunk.
    type Rows<'a> = (&'a [i64], &'a [i64]);

    fn chunked(shape: &[i64], chunks: &[Rows<'_>]) -> Result<StoredTensor, String> {
        let chunk = |(offsets, sizes): &Rows<'_>| Chunk {
            offsets: offsets.to_vec(),
            sizes: sizes.to_vec(),
            tensor: piece(sizes),
        };
        StoredTensor::chunked(ChunkedEntry {
            dtype: "torch.float32".to_owned(),
            shape: shape.to_vec(),
            chunks: chunks.iter().map(chunk).collect(),
        })
    }

    #[test]
    fn chunks_that_cover_a_tensor_are_taken_in_any_order() {
        chunked(&[3, 2], &[(&[2, 0], &[1, 2]), (&[0, 0], &[2, 2])]).unwrap();
        chunked(&[], &[(&[], &[])]).unwrap();
        chunked(&[0, 2], &[(&[0, 0], &[0, 2])]).unwrap();
        chunked(&[0, 2], &[]).unwrap();
    }

    #[test]
    fn chunks_that_do_not_cover_it_are_refused() {
        let cases: [(&[i64], &[Rows<'_>], &str); 12] = [
            (&[3], &[], "hold 0 of 3 rows"),
            (&[3], &[(&[0], &[2])], "hold 2 of 3 rows"),
            (&[3], &[(&[1], &[2])], "rows 0..1 are missing"),
            (&[3], &[(&[0], &[1]), (&[2], &[1])], "rows 1..2 are missing"),
            (
                &[3],
                &[(&[0], &[2]), (&[1], &[2])],
                "rows 1..2 are there twice",
            ),
            (&[3], &[(&[0], &[4])], "hold 4 of 3 rows"),
            (&[3], &[(&[-1], &[4])], "rows -1..0 are there twice"),
            (&[3], &[(&[0], &[-3])], "no tensor has the shape"),
            (&[3, 2], &[(&[0, 0], &[3, 1])], "is no rows of [3, 2]"),
            (&[3, 2], &[(&[0, 1], &[3, 2])], "is no rows of [3, 2]"),
            (&[3, 2], &[(&[0], &[3])], "is no rows of [3, 2]"),
            (&[], &[(&[0], &[1])], "is none of []"),
        ];
        for (shape, chunks, expected) in cases {
            let problem = chunked(shape, chunks).unwrap_err();
            assert!(
                problem.contains(expected),
                "{shape:?} {chunks:?}: {problem}"
            );
        }
        assert!(chunked(&[], &[]).is_err() && chunked(&[], &[(&[], &[]), (&[], &[])]).is_err());
    }

    #[test]
    fn shapes_that_cannot_be_are_refused() {
        for shape in [
            &[-1][..],
            &[2, -3],
            &[-2, -2],
            &[1 << 40, 1 << 40],
            &[i64::MAX],
            &[i64::MIN],
        ] {
            assert!(StoredTensor::single(piece(shape)).is_err(), "{shape:?}");
            assert!(chunked(shape, &[]).is_err(), "{shape:?}");
        }
    }
}
