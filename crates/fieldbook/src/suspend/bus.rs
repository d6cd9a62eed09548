//! As much of D-Bus as it takes to hear from logind: calls whose arguments are strings, their answers, signals, and open
//! files that come along. By hand, because the smallest crates for it bring either a C library or an
//! asynchronous runtime (decision 0024). What comes from the bus is read within narrow limits; what is not understood
//! ends the connection, and the notebook is then locked when the computer wakes up, as without a bus.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Longest message that is read, in bytes. Those that are asked for here have some hundred.
const MESSAGE_MAX: usize = 64 << 10;
/// Open files that may wait for the message to which they belong.
const FILES_MAX: usize = 4;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest line before there are messages.
const LINE_MAX: usize = 512;

/// Kinds of messages.
const CALL: u8 = 1;
const ANSWER: u8 = 2;
const ERROR: u8 = 3;
/// On a call: whoever is not there is not started for it.
const NOBODY_IS_STARTED: u8 = 2;
/// A signal: nobody asked for it.
pub const SIGNAL: u8 = 4;

/// A message that came.
#[derive(Debug, Default)]
pub struct Message {
    /// What kind.
    pub kind: u8,
    /// To which call it is the answer.
    to: u32,
    /// Who sent it, as the bus knows them.
    pub sender: String,
    /// Whose member.
    pub interface: String,
    /// What is called.
    pub member: String,
    /// What its body consists of.
    signature: String,
    files: u32,
    body: Vec<u8>,
    /// The open files that came along.
    pub handed: Vec<OwnedFd>,
}

impl Message {
    /// The string that it consists of.
    pub fn string(&self) -> io::Result<String> {
        let mut body = Reader { bytes: &self.body, at: 0 };
        if self.signature == "s" { body.string() } else { Err(strange()) }
    }

    /// The truth value that it consists of.
    pub fn truth(&self) -> io::Result<bool> {
        let mut body = Reader { bytes: &self.body, at: 0 };
        match (self.signature.as_str(), body.number()?) {
            ("b", 0) => Ok(false),
            ("b", 1) => Ok(true),
            _ => Err(strange()),
        }
    }
}

/// What is called: the receiver, the object, the interface and its member.
pub type Member<'a> = [&'a str; 4];

const HELLO: Member<'_> = ["org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello"];

/// A connection to a bus.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    serial: u32,
    come: Vec<u8>,
    files: VecDeque<OwnedFd>,
    /// Signals that came while an answer was awaited.
    aside: VecDeque<Message>,
}

impl Bus {
    /// Where the system's bus is: as the environment says, if that is a path, else where it always is.
    pub fn place() -> PathBuf {
        let named = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_default();
        let path = named.strip_prefix("unix:path=").and_then(|rest| rest.split([',', ';']).next());
        path.map_or_else(|| PathBuf::from("/run/dbus/system_bus_socket"), PathBuf::from)
    }

    /// Connects and says who this is: the user whom the kernel names.
    pub fn connect(place: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(place)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut bus =
            Self { stream, serial: 0, come: Vec::new(), files: VecDeque::new(), aside: VecDeque::new() };
        let user: String = rustix::process::geteuid()
            .as_raw()
            .to_string()
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        bus.stream.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        bus.line("OK ")?;
        bus.stream.write_all(b"NEGOTIATE_UNIX_FD\r\n")?;
        bus.line("AGREE_UNIX_FD")?;
        bus.stream.write_all(b"BEGIN\r\n")?;
        bus.call(HELLO, &[])?;
        Ok(bus)
    }

    /// From now on [`Bus::signal`] waits as long as it takes.
    pub fn is_patient(&self) -> io::Result<()> {
        self.stream.set_read_timeout(None)
    }

    /// Calls a member with strings, and waits for the answer.
    pub fn call(&mut self, member: Member<'_>, arguments: &[&str]) -> io::Result<Message> {
        self.serial += 1;
        self.stream.write_all(&called(self.serial, member, arguments)?)?;
        loop {
            let message = self.next()?;
            match message.kind {
                ANSWER if message.to == self.serial => return Ok(message),
                ERROR if message.to == self.serial => return Err(io::ErrorKind::PermissionDenied.into()),
                SIGNAL if self.aside.len() < FILES_MAX => self.aside.push_back(message),
                _ => {}
            }
        }
    }

    /// The next signal.
    pub fn signal(&mut self) -> io::Result<Message> {
        loop {
            let message = self.aside.pop_front().map_or_else(|| self.next(), Ok)?;
            if message.kind == SIGNAL {
                return Ok(message);
            }
        }
    }

    fn next(&mut self) -> io::Result<Message> {
        loop {
            if let Some(whole) = length(&self.come)?
                && self.come.len() >= whole
            {
                let rest = self.come.split_off(whole);
                let mut message = read(&std::mem::replace(&mut self.come, rest))?;
                for _ in 0..message.files {
                    message.handed.push(self.files.pop_front().ok_or_else(strange)?);
                }
                return Ok(message);
            }
            self.more()?;
        }
    }

    /// A line of the greeting, which must begin so.
    fn line(&mut self, beginning: &str) -> io::Result<()> {
        loop {
            if let Some(end) = self.come.windows(2).position(|two| two == b"\r\n") {
                let rest = self.come.split_off(end + 2);
                let line = std::mem::replace(&mut self.come, rest);
                return if line.starts_with(beginning.as_bytes()) { Ok(()) } else { Err(strange()) };
            }
            if self.come.len() > LINE_MAX {
                return Err(strange());
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got =
            recvmsg(&self.stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.files.extend(files);
            }
        }
        if got.bytes == 0 || self.files.len() > FILES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.come.extend_from_slice(&bytes[..got.bytes]);
        Ok(())
    }
}

fn strange() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// A call as bytes.
fn called(serial: u32, [to, object, interface, name]: Member<'_>, arguments: &[&str]) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    for argument in arguments {
        string(&mut body, argument)?;
    }
    let mut fields = Vec::new();
    for (code, kind, value) in [(1, b'o', object), (2, b's', interface), (3, b's', name), (6, b's', to)] {
        pad(&mut fields, 8);
        fields.extend([code, 1, kind, 0]);
        string(&mut fields, value)?;
    }
    if !arguments.is_empty() {
        pad(&mut fields, 8);
        fields.extend([8, 1, b'g', 0, u8::try_from(arguments.len()).map_err(|_| strange())?]);
        fields.extend(arguments.iter().map(|_| b's'));
        fields.push(0);
    }
    let mut message = vec![b'l', CALL, NOBODY_IS_STARTED, 1];
    for number in [body.len(), serial as usize, fields.len()] {
        message.extend(u32::try_from(number).map_err(|_| strange())?.to_le_bytes());
    }
    message.extend(fields);
    pad(&mut message, 8);
    message.extend(body);
    Ok(message)
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn string(bytes: &mut Vec<u8>, text: &str) -> io::Result<()> {
    pad(bytes, 4);
    bytes.extend(u32::try_from(text.len()).map_err(|_| strange())?.to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
    Ok(())
}

/// How long the message is whose beginning this is, once that can be told.
fn length(bytes: &[u8]) -> io::Result<Option<usize>> {
    if bytes.len() < 16 {
        return Ok(None);
    }
    // All on one machine write their numbers as it does, and those that have Fieldbook's confinement write this way.
    if bytes[0] != b'l' || bytes[3] != 1 {
        return Err(strange());
    }
    let (body, fields) = (number(bytes, 4)?, number(bytes, 12)?);
    let whole = fields.saturating_add(16).next_multiple_of(8).saturating_add(body);
    if whole > MESSAGE_MAX { Err(strange()) } else { Ok(Some(whole)) }
}

/// A whole message.
fn read(bytes: &[u8]) -> io::Result<Message> {
    let fields = 16 + number(bytes, 12)?;
    let mut message = Message { kind: bytes[1], ..Message::default() };
    let head = bytes.get(..fields).ok_or_else(strange)?;
    message.body = bytes.get(fields.next_multiple_of(8)..).ok_or_else(strange)?.to_vec();
    let mut head = Reader { bytes: head, at: 16 };
    while head.at < fields {
        head.align(8)?;
        let code = head.byte()?;
        match (code, head.kind()?.as_str()) {
            (5, "u") => message.to = u32::try_from(head.number()?).map_err(|_| strange())?,
            (9, "u") => message.files = u32::try_from(head.number()?).map_err(|_| strange())?,
            (_, "u") => drop(head.number()?),
            (2, "s") => message.interface = head.string()?,
            (3, "s") => message.member = head.string()?,
            (7, "s") => message.sender = head.string()?,
            (_, "s" | "o") => drop(head.string()?),
            (8, "g") => message.signature = head.kind()?,
            (_, "g") => drop(head.kind()?),
            _ => return Err(strange()),
        }
    }
    Ok(message)
}

fn number(bytes: &[u8], at: usize) -> io::Result<usize> {
    let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk()).ok_or_else(strange)?;
    usize::try_from(u32::from_le_bytes(*bytes)).map_err(|_| strange())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) -> io::Result<()> {
        self.at = self.at.next_multiple_of(to);
        if self.at > self.bytes.len() { Err(strange()) } else { Ok(()) }
    }

    fn byte(&mut self) -> io::Result<u8> {
        let byte = *self.bytes.get(self.at).ok_or_else(strange)?;
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self) -> io::Result<usize> {
        self.align(4)?;
        let number = number(self.bytes, self.at)?;
        self.at += 4;
        Ok(number)
    }

    /// So many bytes of text, and the zero after them.
    fn text(&mut self, length: usize) -> io::Result<String> {
        let end = self.at.checked_add(length).ok_or_else(strange)?;
        let text = self.bytes.get(self.at..end).ok_or_else(strange)?;
        let text = String::from_utf8(text.to_vec()).map_err(|_| strange())?;
        self.at = end;
        if self.byte()? == 0 { Ok(text) } else { Err(strange()) }
    }

    fn string(&mut self) -> io::Result<String> {
        let length = self.number()?;
        self.text(length)
    }

    /// What a value consists of.
    fn kind(&mut self) -> io::Result<String> {
        let length = self.byte()?;
        self.text(length.into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const MEMBER: Member<'_> = ["a.b", "/a/b", "c.d", "Do"];

    #[test]
    fn what_is_written_is_read() {
        for arguments in [&[][..], &["one"], &["", "two", "three and four"]] {
            let bytes = called(7, MEMBER, arguments).unwrap();
            assert_eq!(length(&bytes).unwrap(), Some(bytes.len()));
            let message = read(&bytes).unwrap();
            assert_eq!(
                (message.kind, message.interface.as_str(), message.member.as_str()),
                (CALL, "c.d", "Do")
            );
            assert_eq!(message.signature, "s".repeat(arguments.len()));
            assert_eq!(message.string().ok().as_deref(), (arguments.len() == 1).then_some("one"));
        }
    }

    #[test]
    fn no_byte_of_a_message_makes_it_more_than_strange() {
        let bytes = called(7, MEMBER, &["one"]).unwrap();
        for cut in 0..bytes.len() {
            let _ = read_if_long(&bytes[..cut]);
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                let message = read_if_long(&bytes);
                let _ = message.map(|message| (message.string(), message.truth()));
            }
        }
    }

    /// As [`Bus::next`] does it.
    fn read_if_long(bytes: &[u8]) -> io::Result<Message> {
        match length(bytes)? {
            Some(whole) if bytes.len() >= whole => read(&bytes[..whole]),
            _ => Err(strange()),
        }
    }

    #[test]
    fn a_long_message_is_refused_before_it_is_awaited() {
        let mut bytes = called(7, MEMBER, &[]).unwrap();
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(length(&bytes).is_err());
        bytes[4..8].copy_from_slice(&1024_u32.to_le_bytes());
        assert!(length(&bytes).is_ok());
        bytes[12..16].copy_from_slice(&(MESSAGE_MAX as u32).to_le_bytes());
        assert!(length(&bytes).is_err());
    }
}
