//! Files that are something else than TFRecord, told from how they begin. Where nothing is recognised, a file that does
//! not read is a damaged TFRecord.

mod magic;
mod text;

use std::fmt;

use magic::GZIP;

/// Bytes looked at.
const LOOKED_AT: usize = 4096;

/// What can be done about it.
mod remedy {
    pub(super) const DECOMPRESS: &str = "decompress it, or compress it with gzip or zstd";
    pub(super) const CONVERT: &str = "make records of it with `convert`";
    pub(super) const UNPACK: &str = "unpack it and name the files that were in it";
    pub(super) const FETCH: &str = "look at it, and fetch the file that it stands for";
    pub(super) const REMOVE: &str = "remove it, or narrow `inputs`";
    pub(super) const REWRITE: &str = "write the data as TFRecord of tf.Example";
}

/// What a file is, and what to do about it.
type Known = (&'static str, &'static str);

/// Something that is no TFRecord file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What it is, with an article.
    what: &'static str,
    /// How it begins, where a person can read that.
    begins: Option<String>,
    /// What to do.
    remedy: &'static str,
    /// The compression that it lay in.
    inside: Option<&'static str>,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inside {
            Some("gzip") if self.what == GZIP => f.write_str("it is compressed twice with gzip")?,
            Some(compression) => write!(f, "under its {compression} compression is {}", self.what)?,
            None => write!(f, "it is {}", self.what)?,
        }
        if let Some(begins) = &self.begins {
            write!(f, " that begins with `{begins}`")?;
        }
        write!(f, "; {}", self.remedy)
    }
}

impl Foreign {
    /// What `bytes`, the beginning of a file without its `compression`, are, if that is known and not TFRecord.
    pub(crate) fn recognise(bytes: &[u8], compression: Option<&'static str>) -> Option<Self> {
        let bytes = &bytes[..bytes.len().min(LOOKED_AT)];
        let found = |(what, remedy)| Self {
            what,
            begins: None,
            remedy,
            inside: compression,
        };
        if let Some(known) = magic::of(bytes) {
            return Some(found(known));
        }
        let text = text::of(bytes)?;
        Some(Self {
            begins: Some(text::shown(&text)),
            ..found(text::kind(&text))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Compression, RecordWriter};
    use super::*;

    fn said(bytes: &[u8]) -> String {
        let found = Foreign::recognise(bytes, None);
        found.map(|found| found.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_is_known_by_its_beginning_is_called_by_its_name() {
        let tar = [vec![b'a'; 100], vec![0; 157], b"ustar\0".to_vec()].concat();
        let safetensors = [&100u64.to_le_bytes()[..], b"{\"a\":1}"].concat();
        let cases: [(&[u8], &str); 31] = [
            (b"PAR1\x15\0", "a Parquet file"),
            (b"Obj\x01\x04", "an Avro file"),
            (b"ORC\x08\x03", "an ORC file"),
            (b"SEQ\x06\x19org", "Hadoop sequence file"),
            (b"crc\0\0\0\x02\0", "checksum file of Hadoop"),
            (&[0, 5, 0x16, 7, 0, 2, 0, 0], "AppleDouble"),
            (b"BZh91AY&SY\x01", "a bzip2 file"),
            (b"\xfd7zXZ\0\0", "an xz file"),
            (&[4, 0x22, 0x4d, 0x18, 0x64], "an lz4 file"),
            (b"\xff\x06\0\0sNaPpY\x01", "a snappy file"),
            (&[0x1f, 0x9d, 0x90, 0x61], "compress"),
            (b"PK\x03\x04\x14", "a zip archive"),
            (&tar, "a tar archive"),
            (b"\x80\x04\x95\x1b\0", "a Python pickle"),
            (b"\x80\x02}q\0", "a Python pickle"),
            (b"\x93NUMPY\x01\0", "a NumPy array"),
            (&safetensors, "a safetensors file"),
            (b"\xff\xfea\0,\0", "UTF-16"),
            (b"\xff\xfe\0\0a\0\0\0", "UTF-32"),
            (&[0; 100], "only zeros"),
            (
                b"<!DOCTYPE html>\n<html>",
                "an HTML page that begins with `<!DOCTYPE html>`",
            ),
            (b"\xef\xbb\xbf\n <HTML lang=en>", "an HTML page"),
            (
                b"<?xml version=\"1.0\"?><Error>",
                "an XML document that begins with `<?xml",
            ),
            (
                b"<Error><Code>AccessDenied</Code></Error>",
                "an XML document",
            ),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
                "git lfs pull",
            ),
            (b"/annex/objects/SHA256E-s5--ab.gz\n", "git annex get"),
            (b"outs:\n- md5: a304\n", "dvc pull"),
            (b"{\"schema\": []}", "it is JSON"),
            (
                b"a,b,c\n1,2,3\n",
                "perhaps CSV, that begins with `a,b,c`; make records of it with `convert`",
            ),
            (b"\x1b[31mred\n", "a text that begins with `\\x1b[31mred`"),
            (
                "Übung macht den Meister, immer wieder und noch einmal\n".as_bytes(),
                "immer wieder un…`",
            ),
        ];
        for (bytes, expected) in cases {
            let said = said(bytes);
            assert!(said.contains(expected), "{bytes:?}: {said}");
        }
    }

    #[test]
    fn a_zlib_stream_is_one_only_if_it_inflates() {
        let mut writer =
            flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut writer, &[7; 1000]).unwrap();
        let stream = writer.finish().unwrap();
        assert!(said(&stream).contains("a zlib stream"));
        // A record of 40,056 bytes begins with the same two bytes.
        let record = [&40_056u64.to_le_bytes()[..], b"\x01\x02\x03\x04\x0a\x10"].concat();
        assert_eq!(record[..2], stream[..2]);
        assert_eq!(said(&record), "");
    }

    #[test]
    fn what_lies_in_compression_is_said_to() {
        let twice = Foreign::recognise(&[0x1f, 0x8b, 8, 0], Some("gzip")).unwrap();
        let said = twice.to_string();
        assert_eq!(said, "it is compressed twice with gzip; decompress it once");
        let parquet = Foreign::recognise(b"PAR1\x15", Some("zstd")).unwrap();
        assert!(
            parquet
                .to_string()
                .starts_with("under its zstd compression is a Parquet")
        );
    }

    #[test]
    fn a_damaged_record_is_nothing_foreign_whichever_byte_is_hit() {
        for len in [0usize, 3, 7, 40, 300, 5000, 40_056, 70_000] {
            let mut writer = RecordWriter::new(Vec::new(), Compression::None).unwrap();
            // As an example begins: a message of features.
            let mut payload = vec![b'a'; len];
            for (byte, start) in payload.iter_mut().zip([0x0a, 0x10, 0x0a, 0x05]) {
                *byte = start;
            }
            writer.write(&payload).unwrap();
            let good = writer.finish().unwrap();
            for place in 0..good.len().min(12) {
                for bit in 0..8 {
                    let mut bytes = good.clone();
                    bytes[place] ^= 1 << bit;
                    assert_eq!(said(&bytes), "", "length {len}, byte {place}, bit {bit}");
                }
            }
            for end in 0..good.len().min(20) {
                assert_eq!(said(&good[..end]), "", "length {len}, cut at {end}");
            }
        }
    }
}
