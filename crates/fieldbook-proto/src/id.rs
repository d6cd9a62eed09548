//! Identifiers: fixed-size byte strings that print as lowercase hexadecimal and never mix.

use std::fmt;
use std::str::FromStr;

/// A text that is not the identifier it was taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseIdError {
    /// What was expected, for example "an entry id of 64 hexadecimal digits".
    pub expected: &'static str,
}

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)
    }
}

impl std::error::Error for ParseIdError {}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $len:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Wraps raw bytes. Any value of the right length is an identifier.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The raw bytes, as they stand on the wire.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first eight hexadecimal digits: enough for a person, never for a program.
            pub fn short(&self) -> String {
                self.to_string().chars().take(8).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for byte in self.0 {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; $len];
                decode_hex(text, &mut bytes).map_err(|_| ParseIdError { expected: $expected })?;
                Ok(Self(bytes))
            }
        }
    };
}

identifier!(
    /// Names a sealed entry: the BLAKE3 hash of its sealed bytes (32 bytes).
    EntryId, 32, "an entry id of 64 hexadecimal digits"
);
identifier!(
    /// Names a device: a hash of its public keys, see [`crate::certificate::DeviceKeys::device_id`] (32 bytes).
    DeviceId, 32, "a device id of 64 hexadecimal digits"
);
identifier!(
    /// Names a team: a hash of its founder's device id and a random value (16 bytes).
    TeamId, 16, "a team id of 32 hexadecimal digits"
);
identifier!(
    /// Names a desk, a set of coordinators who read together: 16 random bytes for a team's first desk,
    /// [`DeskId::founded_by`] for every other.
    DeskId, 16, "a desk id of 32 hexadecimal digits"
);
identifier!(
    /// Names a report (16 random bytes).
    ReportId, 16, "a report id of 32 hexadecimal digits"
);
identifier!(
    /// Names an attachment within its report (16 random bytes).
    AttachmentId, 16, "an attachment id of 32 hexadecimal digits"
);
identifier!(
    /// Names one depot and its arrival order; a depot that was recreated has a new one (16 random bytes).
    DepotId, 16, "a depot id of 32 hexadecimal digits"
);
identifier!(
    /// Names a bundle, that is, what one act of writing put into files (16 random bytes).
    BundleId, 16, "a bundle id of 32 hexadecimal digits"
);

const DESK_ID_CONTEXT: &str = "fieldbook 2026 desk id v1";

impl DeskId {
    /// The desk that this device founds, if it founds one: nobody else can be the root of its readers.
    pub fn founded_by(device: &DeviceId) -> Self {
        let mut id = [0; Self::LEN];
        id.copy_from_slice(&blake3::derive_key(DESK_ID_CONTEXT, device.as_bytes())[..Self::LEN]);
        Self(id)
    }
}

impl EntryId {
    /// The id of these sealed bytes.
    pub fn of(sealed: &[u8]) -> Self {
        Self(*blake3::hash(sealed).as_bytes())
    }
}

/// Writes bytes as lowercase hexadecimal.
pub fn encode_hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Fills `out` from hexadecimal text of exactly twice its length.
///
/// # Errors
/// The text has another length or a character that is not a hexadecimal digit.
pub fn decode_hex(text: &str, out: &mut [u8]) -> Result<(), ParseIdError> {
    let bad = || ParseIdError { expected: "hexadecimal digits, two a byte" };
    let digits = text.as_bytes();
    if digits.len() != out.len() * 2 {
        return Err(bad());
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let high = (pair[0] as char).to_digit(16).ok_or_else(bad)?;
        let low = (pair[1] as char).to_digit(16).ok_or_else(bad)?;
        *byte = u8::try_from(high * 16 + low).map_err(|_| bad())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_nothing_else_parses() {
        let id = EntryId::of(b"abc");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
            assert!(bad.parse::<EntryId>().is_err(), "{bad}");
        }
    }
}
