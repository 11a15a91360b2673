//! TensorBoard's events as protobuf bytes: only the messages and fields that this program writes.

use crate::protobuf::Message;

/// Written first into every file; from this version on readers honour [`Event::Start`].
const FILE_VERSION: &str = "brain.Event:2";

/// `SessionLog.START`.
const SESSION_START: u64 = 1;
/// `DT_STRING`.
const STRING_TENSOR: u64 = 7;

/// Something to show.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event<'a> {
    /// The head of a file.
    Version,
    /// A process begins to write: what an earlier one wrote of this step and later ones no longer counts.
    Start,
    /// Curves: a point each.
    Scalars(&'a [(String, f64)]),
    /// A text, in Markdown.
    Text(&'a str, &'a str),
    /// A distribution.
    Histogram(&'a str, &'a Histogram),
}

/// How often values fall between limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram {
    pub(super) min: f64,
    pub(super) max: f64,
    /// How many values there are.
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) sum_of_squares: f64,
    /// Upper ends of the buckets, ascending.
    pub(super) limits: Vec<f64>,
    /// Values in each bucket.
    pub(super) counts: Vec<f64>,
}

impl Event<'_> {
    /// The bytes of an `Event` at `step`, `wall_time` seconds after 1970.
    pub(super) fn encode(&self, wall_time: f64, step: u64) -> Vec<u8> {
        let mut event = Message::default();
        event.double(1, wall_time);
        event.varint(2, step);
        match self {
            Event::Version => event.bytes(3, FILE_VERSION.as_bytes()),
            Event::Start => event.message(7, |log| log.varint(1, SESSION_START)),
            Event::Scalars(points) => event.message(5, |summary| {
                for (tag, value) in *points {
                    summary.message(1, |point| {
                        point.bytes(1, tag.as_bytes());
                        point.float(2, *value);
                    });
                }
            }),
            Event::Text(tag, text) => event.message(5, |summary| {
                summary.message(1, |value| encode_text(value, tag, text));
            }),
            Event::Histogram(tag, histogram) => event.message(5, |summary| {
                summary.message(1, |value| {
                    value.bytes(1, tag.as_bytes());
                    value.message(5, |message| encode_histogram(message, histogram));
                });
            }),
        }
        event.into_bytes()
    }
}

fn encode_text(value: &mut Message, tag: &str, text: &str) {
    value.bytes(1, tag.as_bytes());
    value.message(8, |tensor| {
        tensor.varint(1, STRING_TENSOR);
        tensor.message(2, |_scalar| {});
        tensor.bytes(8, text.as_bytes());
    });
    value.message(9, |metadata| {
        metadata.message(1, |plugin| plugin.bytes(1, b"text"));
    });
}

fn encode_histogram(message: &mut Message, histogram: &Histogram) {
    message.double(1, histogram.min);
    message.double(2, histogram.max);
    message.double(3, histogram.count);
    message.double(4, histogram.sum);
    message.double(5, histogram.sum_of_squares);
    message.doubles(6, &histogram.limits);
    message.doubles(7, &histogram.counts);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `protoc --encode` writes it: wall_time 1.5, step 300, one value of tag `a` with simple_value 0.5.
    #[test]
    fn a_scalar_is_the_bytes_that_protobuf_writes() {
        let bytes = Event::Scalars(&[("a".to_owned(), 0.5)]).encode(1.5, 300);
        let expected = [
            &[0x09][..],
            &1.5_f64.to_le_bytes(),
            &[
                0x10, 0xac, 0x02, 0x2a, 0x0a, 0x0a, 0x08, 0x0a, 0x01, b'a', 0x15, 0, 0, 0, 0x3f,
            ],
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn the_head_names_the_version() {
        let bytes = Event::Version.encode(0.0, 0);
        assert!(bytes.ends_with(b"\x1a\x0dbrain.Event:2"), "{bytes:?}");
    }
}
