//! Writing and opening entries. See `protocol/entry.md`.
//!
//! Plaintext: magic ‖ u32 header length ‖ header ‖ u32 body length ‖ body ‖ signature ‖ zeros up to
//! [`padded_len`]. The signature covers a label and everything from the header length to the end
//! of the body. Ciphertext: a binary age file of that plaintext; the entry's id is its BLAKE3.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{Read, Write};
use std::ops::Range;

use fieldbook_proto::EntryId;
use fieldbook_proto::certificate::{DeviceKeys, Recipient, verify};
use fieldbook_proto::codec::{DecodeError, Reader};
use fieldbook_proto::limits::{ENTRY_BODY_MAX, ENTRY_RECIPIENTS_MAX, ENTRY_SEALED_MAX, ENTRY_SEALED_MIN};
use zeroize::Zeroizing;

use crate::device::DeviceSecret;
use crate::header::{HEADER_MAX, Header};
use crate::identity::{AgeRecipient, ReadingIdentity, RecipientError};
use crate::padding::padded_len;

const MAGIC: &[u8; 8] = b"FBENTRY1";
const SIGNATURE_LABEL: &[u8] = b"fieldbook entry v1\0";
const SIGNATURE_LEN: usize = 64;
const AGE_MAGIC: &[u8] = b"age-encryption.org/v1\n";

/// Bytes that cannot be a sealed entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAnEntry {
    /// Fewer than [`ENTRY_SEALED_MIN`] bytes.
    TooSmall,
    /// More than [`ENTRY_SEALED_MAX`] bytes.
    TooLarge,
    /// It does not begin like a binary age file.
    NotAge,
}

impl fmt::Display for NotAnEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooSmall => "the data is too short to be an entry",
            Self::TooLarge => "the data is larger than an entry may be",
            Self::NotAge => "the data is not an age file",
        })
    }
}

impl std::error::Error for NotAnEntry {}

/// A sealed entry: opaque, of a permitted size, named by its hash. Nothing inside was looked at.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedEntry {
    id: EntryId,
    bytes: Vec<u8>,
}

impl SealedEntry {
    /// Takes sealed bytes.
    ///
    /// # Errors
    /// [`NotAnEntry`] when their size or first line is wrong.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, NotAnEntry> {
        if bytes.len() < ENTRY_SEALED_MIN {
            Err(NotAnEntry::TooSmall)
        } else if bytes.len() > ENTRY_SEALED_MAX {
            Err(NotAnEntry::TooLarge)
        } else if !bytes.starts_with(AGE_MAGIC) {
            Err(NotAnEntry::NotAge)
        } else {
            Ok(Self { id: EntryId::of(&bytes), bytes })
        }
    }

    /// The entry's id: BLAKE3 of its bytes.
    pub const fn id(&self) -> EntryId {
        self.id
    }

    /// The age file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The age file.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl fmt::Debug for SealedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedEntry({}, {} bytes)", self.id, self.bytes.len())
    }
}

/// Why an entry could not be sealed.
#[derive(Debug)]
pub enum SealError {
    /// The body is larger than [`ENTRY_BODY_MAX`].
    BodyTooLarge {
        /// Its length in bytes.
        len: usize,
    },
    /// The header breaks a rule of the format.
    Header(DecodeError),
    /// The header names another device than the one that signs.
    OtherDevice,
    /// There is nobody to seal to.
    NoRecipient,
    /// More than [`ENTRY_RECIPIENTS_MAX`] different recipients.
    TooManyRecipients {
        /// How many.
        count: usize,
    },
    /// One of the recipients cannot be encrypted to.
    Recipient {
        /// Which.
        recipient: Recipient,
        /// Why.
        source: RecipientError,
    },
    /// The age crate refused.
    Age(age::EncryptError),
    /// Writing to memory failed.
    Io(std::io::Error),
    /// The result is not an entry. It cannot happen while the limits agree with one another.
    NotAnEntry(NotAnEntry),
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BodyTooLarge { len } => {
                write!(f, "the entry's body has {len} bytes and may have {ENTRY_BODY_MAX}")
            }
            Self::Header(why) => write!(f, "the entry's header cannot be written: {why}"),
            Self::OtherDevice => {
                f.write_str("the entry's header names another device than the one that signs")
            }
            Self::NoRecipient => f.write_str("the entry has no recipient"),
            Self::TooManyRecipients { count } => {
                write!(f, "the entry has {count} recipients and may have {ENTRY_RECIPIENTS_MAX}")
            }
            Self::Recipient { recipient, source } => {
                write!(f, "cannot encrypt to {}: {source}", recipient.as_str())
            }
            Self::Age(why) => write!(f, "encryption failed: {why}"),
            Self::Io(why) => write!(f, "encryption failed: {why}"),
            Self::NotAnEntry(why) => write!(f, "encryption failed: {why}"),
        }
    }
}

impl std::error::Error for SealError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Header(why) => Some(why),
            Self::Recipient { source, .. } => Some(source),
            Self::Age(why) => Some(why),
            Self::Io(why) => Some(why),
            Self::NotAnEntry(why) => Some(why),
            Self::BodyTooLarge { .. }
            | Self::OtherDevice
            | Self::NoRecipient
            | Self::TooManyRecipients { .. } => None,
        }
    }
}

/// What is wrong with an entry that was meant for us.
#[derive(Debug, Clone)]
pub enum Damage {
    /// The age file was altered or cut short.
    Ciphertext(age::DecryptError),
    /// The plaintext does not begin like an entry.
    Magic,
    /// A field has a length or value that the format forbids.
    Layout(DecodeError),
    /// The padding is not zero, or not exactly as long as it has to be.
    Padding,
    /// The header names another device than the one whose keys were given.
    OtherDevice,
    /// The signature does not match.
    Signature,
}

impl Damage {
    /// One stable word for each class, as used in `protocol/vectors/entry/`.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Ciphertext(_) => "ciphertext",
            Self::Magic => "magic",
            Self::Layout(_) => "layout",
            Self::Padding => "padding",
            Self::OtherDevice => "device",
            Self::Signature => "signature",
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ciphertext(_) => f.write_str("its encryption was altered or cut short"),
            Self::Magic => f.write_str("what it holds is not an entry"),
            Self::Layout(why) => write!(f, "{why}"),
            Self::Padding => f.write_str("its padding is not what the format requires"),
            Self::OtherDevice => {
                f.write_str("it names another device than the one that is said to have written it")
            }
            Self::Signature => f.write_str("its signature does not match: it was forged or altered"),
        }
    }
}

/// Why an entry could not be opened.
#[derive(Debug, Clone)]
pub enum OpenError {
    /// None of the given identities opens it. Also the answer when the stanza that was meant for
    /// us was altered: nothing can tell the two apart.
    NotForUs,
    /// It is for us, and it is damaged or forged.
    Damaged {
        /// What is wrong.
        why: Damage,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotForUs => f.write_str("the entry is not addressed to this device"),
            Self::Damaged { why } => write!(f, "the entry is damaged: {why}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Damaged { why: Damage::Ciphertext(why) } => Some(why),
            Self::Damaged { why: Damage::Layout(why) } => Some(why),
            _ => None,
        }
    }
}

impl From<Damage> for OpenError {
    fn from(why: Damage) -> Self {
        Self::Damaged { why }
    }
}

impl From<DecodeError> for OpenError {
    fn from(why: DecodeError) -> Self {
        Self::Damaged { why: Damage::Layout(why) }
    }
}

/// A signed plaintext without its padding: what [`seal_signed`] encrypts. Wipes itself.
#[derive(Clone)]
pub struct SignedEntry {
    plaintext: Zeroizing<Vec<u8>>,
}

impl SignedEntry {
    /// As [`OpenedEntry::digest`].
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.plaintext).as_bytes()
    }
}

impl fmt::Debug for SignedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedEntry({} bytes)", self.plaintext.len())
    }
}

/// Signs a header and a body (at most [`ENTRY_BODY_MAX`] bytes) without sealing them yet.
///
/// # Errors
/// [`SealError::BodyTooLarge`], [`SealError::Header`], [`SealError::OtherDevice`].
pub fn sign(header: &Header, body: &[u8], signer: &DeviceSecret) -> Result<SignedEntry, SealError> {
    if body.len() > ENTRY_BODY_MAX {
        return Err(SealError::BodyTooLarge { len: body.len() });
    }
    if header.device != signer.id() {
        return Err(SealError::OtherDevice);
    }
    let header = header.encode().map_err(SealError::Header)?;
    // Both lengths were just checked against limits far below 4 GiB.
    let length = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    let len = MAGIC.len() + 4 + header.len() + 4 + body.len() + SIGNATURE_LEN;
    // The label stands where the magic will, so that what is signed lies in one piece.
    let mut signed = Zeroizing::new(Vec::with_capacity(SIGNATURE_LABEL.len() + len));
    for piece in [SIGNATURE_LABEL, &length(header.len()), &header, &length(body.len()), body] {
        signed.extend_from_slice(piece);
    }
    let signature = signer.sign(&signed);
    let mut plaintext = Zeroizing::new(Vec::with_capacity(len));
    plaintext.extend_from_slice(MAGIC);
    plaintext.extend_from_slice(&signed[SIGNATURE_LABEL.len()..]);
    plaintext.extend_from_slice(&signature);
    Ok(SignedEntry { plaintext })
}

/// Signs, pads and encrypts. Whoever is not among `recipients` cannot read the result, its author
/// included. Recipients given twice count once.
///
/// # Errors
/// [`SealError`].
pub fn seal(
    header: &Header,
    body: &[u8],
    signer: &DeviceSecret,
    recipients: &[Recipient],
) -> Result<SealedEntry, SealError> {
    seal_signed(&sign(header, body, signer)?, recipients)
}

/// Pads and encrypts what was signed before, possibly by another device: the same signed entry for
/// other readers.
///
/// # Errors
/// [`SealError`].
pub fn seal_signed(signed: &SignedEntry, recipients: &[Recipient]) -> Result<SealedEntry, SealError> {
    seal_padded(signed, recipients, 1)
}

/// As [`seal_signed`], with the number of recipients filled up to a multiple of `step` by keys that
/// nobody has (at most to [`ENTRY_RECIPIENTS_MAX`]), and all of them in a random order: neither the number of
/// stanzas nor the place of its own tells a reader how many others there are.
///
/// # Errors
/// [`SealError`].
pub fn seal_padded(
    signed: &SignedEntry,
    recipients: &[Recipient],
    step: usize,
) -> Result<SealedEntry, SealError> {
    let mut seen = BTreeSet::new();
    let mut keys = Vec::new();
    for recipient in recipients {
        let key = AgeRecipient::parse(recipient)
            .map_err(|source| SealError::Recipient { recipient: recipient.clone(), source })?;
        if seen.insert(key.text()) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Err(SealError::NoRecipient);
    }
    let filled = keys.len().next_multiple_of(step.max(1)).min(ENTRY_RECIPIENTS_MAX);
    while keys.len() < filled {
        let nobody = ReadingIdentity::generate().recipient();
        let key = AgeRecipient::parse(&nobody)
            .map_err(|source| SealError::Recipient { recipient: nobody.clone(), source })?;
        keys.push(key);
    }
    if keys.len() > ENTRY_RECIPIENTS_MAX {
        return Err(SealError::TooManyRecipients { count: keys.len() });
    }
    if step > 1 {
        // By a hash under a key of this one call. An order that followed from the recipients would tell a
        // reader, over many entries, how many others stand before it.
        let key = blake3::hash(ReadingIdentity::generate().to_text().as_bytes());
        keys.sort_by_cached_key(|to| *blake3::keyed_hash(key.as_bytes(), to.text().as_bytes()).as_bytes());
    }
    let padded = padded_len(signed.plaintext.len());
    let zeros = vec![0; padded - signed.plaintext.len()];
    let mut bytes = Vec::with_capacity(padded + padded / 4096 + 256 * (keys.len() + 1));
    let encryptor =
        age::Encryptor::with_recipients(keys.iter().map(AgeRecipient::as_age)).map_err(SealError::Age)?;
    let mut writer = encryptor.wrap_output(&mut bytes).map_err(SealError::Io)?;
    writer.write_all(&signed.plaintext).map_err(SealError::Io)?;
    writer.write_all(&zeros).map_err(SealError::Io)?;
    writer.finish().map_err(SealError::Io)?;
    SealedEntry::parse(bytes).map_err(SealError::NotAnEntry)
}

/// Decrypts with whichever of `identities` fits and checks the layout; the signature is next, see
/// [`UnverifiedEntry::verify`].
///
/// Takes memory for the plaintext, which is never longer than the sealed bytes.
///
/// # Errors
/// [`OpenError::NotForUs`] when no identity fits, [`OpenError::Damaged`] for anything else.
pub fn decrypt(sealed: &SealedEntry, identities: &[&ReadingIdentity]) -> Result<UnverifiedEntry, OpenError> {
    let ciphertext = |why| match why {
        age::DecryptError::NoMatchingKeys => OpenError::NotForUs,
        why => Damage::Ciphertext(why).into(),
    };
    if stanzas(&sealed.bytes) > STANZAS_MAX {
        let why = DecodeError::TooLong { field: "recipients", limit: ENTRY_RECIPIENTS_MAX };
        return Err(Damage::Layout(why).into());
    }
    let mut plaintext = Zeroizing::new(Vec::with_capacity(sealed.bytes.len()));
    age::Decryptor::new_buffered(sealed.bytes.as_slice())
        .and_then(|decryptor| decryptor.decrypt(identities.iter().map(|identity| identity.as_age())))
        .map_err(ciphertext)?
        .read_to_end(&mut plaintext)
        .map_err(|why| ciphertext(age::DecryptError::Io(why)))?;
    UnverifiedEntry::parse(sealed.id, plaintext)
}

/// The recipients, and the one stanza that age adds to keep readers honest ("grease").
const STANZAS_MAX: usize = ENTRY_RECIPIENTS_MAX + 1;

/// How many stanzas the age header has. Each costs a key agreement to try, so a header made of nothing
/// else would cost a second.
fn stanzas(sealed: &[u8]) -> usize {
    let header = sealed.windows(5).position(|window| window == b"\n--- ").unwrap_or(sealed.len());
    sealed[..header].windows(4).filter(|window| *window == b"\n-> ").count()
}

/// A decrypted, well-formed entry. Who wrote it is not yet known.
pub struct UnverifiedEntry {
    id: EntryId,
    header: Header,
    /// Without the padding.
    plaintext: Zeroizing<Vec<u8>>,
    body: Range<usize>,
    signature: [u8; SIGNATURE_LEN],
}

impl UnverifiedEntry {
    fn parse(id: EntryId, mut plaintext: Zeroizing<Vec<u8>>) -> Result<Self, OpenError> {
        let total = plaintext.len();
        let mut reader = Reader::new(&plaintext);
        if reader.raw("magic", MAGIC.len())? != MAGIC {
            return Err(Damage::Magic.into());
        }
        let header = Header::decode(reader.bytes("header", HEADER_MAX)?)?;
        let body_len = reader.bytes("body", ENTRY_BODY_MAX)?.len();
        let body_end = total - reader.remaining();
        let signature = reader.array("signature")?;
        let end = total - reader.remaining();
        if total != padded_len(end) || reader.rest().iter().any(|byte| *byte != 0) {
            return Err(Damage::Padding.into());
        }
        plaintext.truncate(end);
        Ok(Self { id, header, plaintext, body: body_end - body_len..body_end, signature })
    }

    /// What the header claims: to be used for finding the keys to verify with, and for nothing else.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The id of the sealed bytes.
    pub const fn id(&self) -> EntryId {
        self.id
    }

    /// What the body claims: like the header, to be used for finding the keys to verify with, and for
    /// nothing else.
    pub fn claimed_body(&self) -> &[u8] {
        &self.plaintext[self.body.clone()]
    }

    /// Checks that the device with these keys wrote it.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] with [`Damage::OtherDevice`] or [`Damage::Signature`].
    pub fn verify(self, keys: &DeviceKeys) -> Result<OpenedEntry, OpenError> {
        if self.header.device != keys.device_id() {
            return Err(Damage::OtherDevice.into());
        }
        let signed = &self.plaintext[MAGIC.len()..self.body.end];
        let mut message = Zeroizing::new(Vec::with_capacity(SIGNATURE_LABEL.len() + signed.len()));
        message.extend_from_slice(SIGNATURE_LABEL);
        message.extend_from_slice(signed);
        if !verify(&keys.signing, &message, &self.signature) {
            return Err(Damage::Signature.into());
        }
        Ok(OpenedEntry { entry: self })
    }
}

impl fmt::Debug for UnverifiedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnverifiedEntry({})", self.id)
    }
}

/// An entry that the device named in its header signed. Only [`UnverifiedEntry::verify`] makes one.
/// Wipes its plaintext.
pub struct OpenedEntry {
    entry: UnverifiedEntry,
}

impl OpenedEntry {
    /// The header.
    pub const fn header(&self) -> &Header {
        &self.entry.header
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.entry.plaintext[self.entry.body.clone()]
    }

    /// The id of the sealed bytes.
    pub const fn id(&self) -> EntryId {
        self.entry.id
    }

    /// BLAKE3 of what was signed, signature included: the same for two ciphertexts of one signed entry.
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.entry.plaintext).as_bytes()
    }

    /// The signed plaintext, to seal it for other readers as its author wrote it.
    pub fn into_signed(self) -> SignedEntry {
        SignedEntry { plaintext: self.entry.plaintext }
    }
}

impl fmt::Debug for OpenedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenedEntry({})", self.entry.id)
    }
}

#[cfg(test)]
mod tests;
