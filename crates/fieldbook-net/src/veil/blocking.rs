//! The halves of a veiled stream over a reader and a writer that block, for a process of threads.

use std::fmt;
use std::io::{self, Read, Write};
use std::ops::Range;

use super::stream::{NEEDS_MAX, Opener, PAYLOAD_MAX, Sealer};

/// Reads what was said. Until the other side is known, what was not sealed for this one is thrown away like everything after it, and
/// nothing is said of it: whoever sits between would learn by the end where records end.
pub struct Opening<R> {
    inner: R,
    opener: Opener,
    bytes: Vec<u8>,
    said: Range<usize>,
    known: bool,
}

impl<R> fmt::Debug for Opening<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opening")
    }
}

impl<R: Read> Opening<R> {
    /// From `inner`.
    pub fn new(inner: R, opener: Opener) -> Self {
        Self { inner, opener, bytes: vec![0; NEEDS_MAX], said: 0..0, known: false }
    }

    /// The other side has said what only it could say. What is read from, which may need no term any more.
    pub const fn is_known(&mut self) -> &mut R {
        self.known = true;
        &mut self.inner
    }
}

impl<R: Read> Read for Opening<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        while self.said.is_empty() {
            let next = &mut self.bytes[..self.opener.needs()];
            match self.inner.read_exact(next) {
                // A stream that ends, anywhere: those above know whether this was all.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => read?,
            }
            match self.opener.open(next) {
                Ok(said) => self.said = said.unwrap_or_default(),
                Err(error) if self.known => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                Err(_) => {
                    while self.inner.read(&mut self.bytes)? > 0 {}
                    return Ok(0);
                }
            }
        }
        let len = self.said.len().min(into.len());
        into[..len].copy_from_slice(&self.bytes[self.said.start..self.said.start + len]);
        self.said.start += len;
        Ok(len)
    }
}

/// Writes, each call in records of its own and in one piece.
pub struct Sealing<W> {
    inner: W,
    sealer: Sealer,
}

impl<W> fmt::Debug for Sealing<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealing")
    }
}

impl<W: Write> Sealing<W> {
    /// To `inner`.
    pub fn new(inner: W, sealer: Sealer) -> Self {
        Self { inner, sealer }
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sealed = Vec::with_capacity(bytes.len() + 2_048);
        for payload in bytes.chunks(PAYLOAD_MAX) {
            self.sealer.seal(payload, &mut sealed).map_err(io::Error::other)?;
        }
        self.inner.write_all(&sealed)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use fieldbook_proto::session::TransportSecret;

    use super::super::boxes::Salt;
    use super::super::stream::dial;
    use super::super::{Veil, system_clock};
    use super::*;

    #[test]
    fn threads_that_block_say_and_hear_the_same_as_others() {
        let secret = TransportSecret::new(0, [7; 32]);
        let (sealer, opener) = dial(&secret, Salt::new(7, [7; 6]), &[9; 100]).unwrap();
        let long: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        let mut there = Vec::new();
        let mut writer = Sealing::new(&mut there, sealer);
        writer.write_all(&long).unwrap();
        writer.write_all(b"end").unwrap();
        let veil = Veil::new(&[secret], None, system_clock()).unwrap();
        let (first, rest) = there.split_first_chunk().unwrap();
        let (answers, hears) = veil.meet([127, 0, 0, 1].into(), first).unwrap();
        let mut heard = Vec::new();
        Opening::new(rest, hears).read_to_end(&mut heard).unwrap();
        assert!(heard == [&long[..], b"end"].concat());
        let mut back = Vec::new();
        Sealing::new(&mut back, answers).write_all(b"answer").unwrap();
        let mut answer = String::new();
        let mut reader = Opening::new(back.as_slice(), opener);
        reader.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
        assert!(veil.meet([127, 0, 0, 1].into(), first).is_none(), "played again");
    }

    #[test]
    fn what_is_damaged_is_an_end_only_once_the_other_side_is_known() {
        let secret = TransportSecret::new(0, [7; 32]);
        let veil = Veil::new(std::slice::from_ref(&secret), None, system_clock()).unwrap();
        for known in [false, true] {
            let (sealer, _) = dial(&secret, Salt::new(7, [u8::from(known); 6]), &[]).unwrap();
            let mut there = Vec::new();
            let mut writer = Sealing::new(&mut there, sealer);
            writer.write_all(b"first").unwrap();
            writer.write_all(b"second").unwrap();
            let last = there.len() - 1;
            there[last] ^= 1;
            there.extend_from_slice(&[0; 50_000]);
            let (first, rest) = there.split_first_chunk().unwrap();
            let (_, hears) = veil.meet([127, 0, 0, 1].into(), first).unwrap();
            let mut opening = Opening::new(rest, hears);
            let mut word = [0; 5];
            opening.read_exact(&mut word).unwrap();
            if known {
                opening.is_known();
            }
            let end = opening.read(&mut word).map_err(|error| error.kind());
            assert_eq!(
                (end, opening.inner.is_empty()),
                if known { (Err(io::ErrorKind::InvalidData), false) } else { (Ok(0), true) }
            );
        }
    }
}
