//! The one module of this crate that touches bincode.
//!
//! The encoding is fixed for ever: little endian, variable-length integers, no trailing bytes. Golden tests below hold
//! it still, because logs, snapshots and frames written by one version are read by the next.
//!
//! RUSTSEC-2025-0141 says that bincode is unmaintained. It is a notice, not a vulnerability: 1.3.3 is complete, its
//! format is documented, and it is pinned on purpose (2.x and 3.x are other crates in all but name). What the exception
//! rests on: only this module calls it, every decode has a limit, and input is never trusted to name its own size.
//! Should it ever have to go, this is the one module to change.

use bincode::{DefaultOptions, Options};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// More bytes than the caller allows.
    #[error("{bytes} bytes, where at most {limit} are allowed")]
    TooLarge {
        /// What was given.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Not an encoding of the wanted type.
    #[error("not readable: {0}")]
    Malformed(String),
}

fn options() -> impl Options {
    DefaultOptions::new()
        .with_little_endian()
        .with_varint_encoding()
        .reject_trailing_bytes()
}

/// The encoding of a value.
///
/// # Panics
/// When the type's `Serialize` fails, or it has a sequence of unknown length: mistakes in the type, not in the value.
/// Derived implementations have neither.
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    encode_after(&[], value)
}

/// The same behind `head`, in one piece.
///
/// # Panics
/// As [`encode`].
pub fn encode_after<T: Serialize>(head: &[u8], value: &T) -> Bytes {
    let size = options().serialized_size(value).unwrap_or(0);
    let mut out = Vec::with_capacity(head.len() + usize::try_from(size).unwrap_or(0));
    out.extend_from_slice(head);
    options()
        .serialize_into(&mut out, value)
        .expect("a type with a derived Serialize can be encoded");
    out.into()
}

/// Reads a value that takes exactly these bytes. At most `limit` bytes are looked at, and what is allocated is in
/// proportion to them (so the type must have no sequence of zero-sized elements).
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLarge {
            bytes: bytes.len(),
            limit,
        });
    }
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    options()
        .with_limit(limit)
        .deserialize(bytes)
        .map_err(|error| CodecError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Empty,
        Pair(u64, Option<u8>),
        Named {
            text: String,
            list: Vec<u32>,
            map: BTreeMap<u16, i64>,
        },
    }

    fn named() -> Shape {
        Shape::Named {
            text: "né".into(),
            list: vec![0, 251, 70_000],
            map: BTreeMap::from([(9, -1)]),
        }
    }

    #[test]
    fn the_encoding_never_changes() {
        assert_eq!(&encode(&Shape::Empty)[..], [0]);
        assert_eq!(&encode(&Shape::Pair(250, None))[..], [1, 250, 0]);
        assert_eq!(&encode(&Shape::Pair(251, Some(7)))[..], [1, 251, 251, 0, 1, 7]);
        assert_eq!(
            &encode(&Shape::Pair(1 << 40, None))[..],
            [1, 253, 0, 0, 0, 0, 0, 1, 0, 0, 0]
        );
        let bytes = [
            2, 3, b'n', 0xc3, 0xa9, 3, 0, 251, 251, 0, 252, 0x70, 0x11, 1, 0, 1, 9, 1,
        ];
        assert_eq!(&encode(&named())[..], bytes);
        assert_eq!(decode::<Shape>(&bytes, 100).unwrap(), named());
    }

    #[test]
    fn a_head_goes_before() {
        assert_eq!(
            encode_after(b"head", &named())[..],
            [b"head", &encode(&named())[..]].concat()
        );
    }

    #[test]
    fn every_cut_and_every_extra_byte_is_refused() {
        let bytes = encode(&named());
        for cut in 0..bytes.len() {
            assert!(decode::<Shape>(&bytes[..cut], 100).is_err(), "cut at {cut}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(matches!(decode::<Shape>(&longer, 100), Err(CodecError::Malformed(_))));
    }

    #[test]
    fn the_limit_is_kept() {
        let bytes = encode(&named());
        assert_eq!(decode::<Shape>(&bytes, bytes.len()).unwrap(), named());
        let error = decode::<Shape>(&bytes, bytes.len() - 1).unwrap_err();
        assert_eq!(
            error,
            CodecError::TooLarge {
                bytes: bytes.len(),
                limit: bytes.len() - 1
            }
        );
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        // A vector and a string that claim 2^62 elements in a dozen bytes.
        let claim = [253, 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 2, 3];
        assert!(decode::<Vec<u64>>(&claim, 1 << 20).is_err());
        assert!(decode::<String>(&claim, 1 << 20).is_err());
        assert!(decode::<bytes::Bytes>(&claim, 1 << 20).is_err());
    }
}
