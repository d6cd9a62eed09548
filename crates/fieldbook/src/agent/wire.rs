//! Frames on the local socket: a length of four bytes, big-endian, then that many bytes of JSON.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::{Zeroize as _, Zeroizing};

/// Largest frame: 16 MiB. Long answers are sent as several frames.
pub const FRAME_MAX: usize = 16 << 20;

/// How much is taken from the other side before it is allocated: what was announced but never
/// comes costs one block.
const BLOCK: usize = 64 << 10;

/// How much is read at once.
const AT_ONCE: usize = 8 << 10;

/// Reads in large pieces, as small frames are many, and keeps nothing of what it has handed on.
pub struct Buffered<R> {
    inner: R,
    buffer: Zeroizing<Vec<u8>>,
    has: std::ops::Range<usize>,
}

impl<R> Buffered<R> {
    /// From `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, buffer: Zeroizing::new(vec![0; AT_ONCE]), has: 0..0 }
    }
}

impl<R: Read> Read for Buffered<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.has.is_empty() {
            if into.len() >= AT_ONCE {
                return self.inner.read(into);
            }
            self.has = 0..self.inner.read(&mut self.buffer)?;
        }
        let len = self.has.len().min(into.len());
        let taken = &mut self.buffer[self.has.start..self.has.start + len];
        into[..len].copy_from_slice(taken);
        taken.zeroize();
        self.has.start += len;
        Ok(len)
    }
}

/// Reads one value; `None` when the other side closed between two frames.
///
/// # Errors
/// The stream ended inside a frame; the frame is too long (nothing is allocated for it) or not
/// the JSON that was expected.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    if !fill_or_end(from, &mut length)? {
        return Ok(None);
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_MAX {
        return Err(invalid(format!("a frame of {length} bytes is longer than {FRAME_MAX}")));
    }
    let mut frame = Zeroizing::new(Vec::with_capacity(length.min(BLOCK)));
    while frame.len() < length {
        let have = frame.len();
        let next = length.min(have + BLOCK.max(have));
        // A growing vector copies itself: wipe the old block, it may hold a secret.
        let mut grown = Zeroizing::new(Vec::with_capacity(next));
        grown.extend_from_slice(&frame);
        grown.resize(next, 0);
        from.read_exact(&mut grown[have..])?;
        frame = grown;
    }
    serde_json::from_slice(&frame)
        .map(Some)
        .map_err(|error| invalid(format!("a frame is not understood: {error}")))
}

/// Writes one value and flushes.
///
/// # Errors
/// The value is longer than a frame, or the stream cannot be written.
pub fn write(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let json = Zeroizing::new(serde_json::to_vec(value)?);
    if json.len() > FRAME_MAX {
        return Err(invalid(format!("an answer of {} bytes does not fit a frame", json.len())));
    }
    let length = u32::try_from(json.len()).map_err(|_| invalid("too long".to_owned()))?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(&json)?;
    to.flush()
}

/// Fills `buffer`; false when the stream ended before its first byte.
fn fill_or_end(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Bytes inside JSON: a string of lowercase hexadecimal, wiped when dropped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hex(pub Zeroizing<Vec<u8>>);

impl Hex {
    /// Takes the bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<&str> for Hex {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes().to_vec())
    }
}

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = Zeroizing::new(String::with_capacity(self.0.len() * 2));
        for byte in self.0.iter() {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> serde::Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(<String as serde::Deserialize>::deserialize(deserializer)?);
        let mut bytes = Zeroizing::new(vec![0; text.len() / 2]);
        fieldbook_proto::decode_hex(&text, &mut bytes)
            .map_err(|_| serde::de::Error::custom("hexadecimal digits are expected"))?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn values_come_back_and_the_end_is_an_end() {
        let mut stream = Vec::new();
        write(&mut stream, &json!({"a": 1})).unwrap();
        write(&mut stream, &json!("x".repeat(200_000))).unwrap();
        let mut reader = stream.as_slice();
        assert_eq!(read::<Value>(&mut reader).unwrap(), Some(json!({"a": 1})));
        assert_eq!(read::<String>(&mut reader).unwrap().map(|text| text.len()), Some(200_000));
        assert_eq!(read::<Value>(&mut reader).unwrap(), None);
    }

    #[test]
    fn what_was_handed_on_is_kept_nowhere() {
        let mut stream = Vec::new();
        for text in ["Quokka", &"x".repeat(3 * AT_ONCE), "Numbat"] {
            write(&mut stream, &json!(text)).unwrap();
        }
        let mut reader = Buffered::new(stream.as_slice());
        for len in [6, 3 * AT_ONCE, 6] {
            assert_eq!(read::<String>(&mut reader).unwrap().map(|text| text.len()), Some(len));
            assert!(reader.buffer[..reader.has.start].iter().all(|byte| *byte == 0));
        }
        assert_eq!(read::<Value>(&mut reader).unwrap(), None);
        assert!(reader.buffer.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_frame_that_is_cut_or_too_long_is_an_error() {
        let mut stream = Vec::new();
        write(&mut stream, &json!({"a": 1})).unwrap();
        for cut in 1..stream.len() {
            assert!(read::<Value>(&mut &stream[..cut]).is_err(), "cut at {cut}");
        }
        let announced = u32::try_from(FRAME_MAX + 1).unwrap().to_be_bytes();
        assert_eq!(read::<Value>(&mut announced.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let most = u32::try_from(FRAME_MAX).unwrap().to_be_bytes();
        assert_eq!(read::<Value>(&mut most.as_slice()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(write(&mut Vec::new(), &"x".repeat(FRAME_MAX)).is_err());
    }

    #[test]
    fn bytes_are_hexadecimal_in_json() {
        let bytes = Hex::new((0..=255).collect());
        let text = serde_json::to_string(&bytes).unwrap();
        assert!(text.starts_with("\"000102"));
        assert_eq!(serde_json::from_str::<Hex>(&text).unwrap(), bytes);
        assert!(serde_json::from_str::<Hex>("\"0g\"").is_err());
        assert!(serde_json::from_str::<Hex>("\"000\"").is_err());
    }
}
