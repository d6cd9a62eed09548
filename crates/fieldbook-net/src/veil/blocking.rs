//! The halves of a veiled stream over a reader and a writer that block, for a process of threads.

use std::fmt;
use std::io::{self, Read, Write};
use std::ops::Range;

use super::stream::{NEEDS_MAX, Opener, PAYLOAD_MAX, Sealer};

/// Reads what was said.
pub struct Opening<R> {
    inner: R,
    opener: Opener,
    bytes: Vec<u8>,
    said: Range<usize>,
}

impl<R> fmt::Debug for Opening<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opening")
    }
}

impl<R: Read> Opening<R> {
    /// From `inner`.
    pub fn new(inner: R, opener: Opener) -> Self {
        Self { inner, opener, bytes: vec![0; NEEDS_MAX], said: 0..0 }
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
            let opened = self.opener.open(next);
            if let Some(said) = opened.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                self.said = said;
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
}
