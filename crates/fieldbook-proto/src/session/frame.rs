//! Frames: a type, a length, a payload of fixed layout. What decodes obeys the limits.

use bytes::{Buf, Bytes, BytesMut};

use super::comparison::{Comparison, read_flags, write_flags};
use super::decline::Decline;
use super::error::Fault;
use super::fingerprint::Fingerprint;
use super::limits::{
    COMPARE_FRAME_MAX, ENTRIES_FRAME_MAX, ENTRY_OVERHEAD, FRAME_MAX, ID_PREFIX, OFFER_IDS_MAX, OFFERED_MAX,
    PAD_FRAME_MAX, POSITION_MAX,
};
use crate::EntryId;
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{ENTRY_SEALED_MAX, ENTRY_SEALED_MIN};

/// Type (1) and payload length (4).
pub(super) const HEADER_LEN: usize = 5;

const SINCE: u8 = 1;
pub(super) const ENTRIES: u8 = 2;
const OFFER: u8 = 3;
const WANT: u8 = 4;
const GONE: u8 = 5;
const ACK: u8 = 6;
const MARK: u8 = 7;
const DONE: u8 = 8;
const LIMITED: u8 = 9;
const COMPARE: u8 = 10;
const PAST: u8 = 11;
const SIZED_OFFER: u8 = 12;
const ANSWER: u8 = 13;
const SETTLED: u8 = 14;
const PING: u8 = 15;
const PAD: u8 = 16;

/// An id with a size.
const SIZED_ID: usize = EntryId::LEN + 4;

/// Flag of [`Frame::Mark`]: nothing follows until the other side sends something new.
const MARK_END: u8 = 1;
/// Flag of [`Frame::Ping`]: it answers one.
const PING_ANSWER: u8 = 1;
/// Flag of [`Frame::Done`]: the set changes faster than it can be compared.
const DONE_BUSY: u8 = 1;

/// An entry as it stands in an [`Frame::Entries`]: not yet checked against its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireEntry {
    /// The first bytes of the id that the sender claims.
    pub prefix: [u8; ID_PREFIX],
    /// The sealed bytes, from [`ENTRY_SEALED_MIN`] to [`ENTRY_SEALED_MAX`].
    pub bytes: Bytes,
}

/// Everything that is said after the hellos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// "Your membership has run out: you get what is addressed to you, and nothing else." Before the `Since`.
    Limited,
    /// "Send what came to you after this position." Once, the first frame of each side but for `Limited`.
    Since {
        /// Last position read, in the arrival order of the receiver of this frame.
        position: u64,
    },
    /// Entries, at least one.
    Entries(Vec<WireEntry>),
    /// "I have these." Between 1 and [`OFFER_IDS_MAX`].
    Offer(Vec<EntryId>),
    /// Answers the oldest unanswered offer: one flag for each of its ids.
    Want(Vec<bool>),
    /// In the place of the next wanted entries: their bytes are no longer held. Between 1 and [`OFFER_IDS_MAX`].
    Gone(Vec<EntryId>),
    /// The first `count` entries that you sent in this session are durable here.
    Ack {
        /// Cumulative.
        count: u64,
        /// Not durable but refused: offsets from the count of the previous `Ack`, rising, below the new one.
        refused: Vec<u32>,
    },
    /// Everything in the sender's arrival order up to `position` was sent, declined, or is not for you.
    Mark {
        /// In the sender's arrival order; never falls.
        position: u64,
        /// Nothing follows, unless the receiver sends something.
        end: bool,
    },
    /// "I have sent all, and stored all that you sent": what this side knows now.
    Done {
        /// How many entries this side has received in this session.
        received: u64,
        /// Of all known ids.
        fingerprint: Fingerprint,
        /// Others add to this side's depot faster than it can be compared: no verdict.
        busy: bool,
    },
    /// A turn of the reconciliation.
    Compare(Comparison),
    /// "I know these, which you seem not to, and no longer have their bytes." Between 1 and [`OFFER_IDS_MAX`].
    Past(Vec<EntryId>),
    /// As `Offer`, with the size of each entry in bytes.
    SizedOffer(Vec<(EntryId, u32)>),
    /// As `Want`, when some of the offered entries are declined.
    Answer {
        /// One flag for each id.
        wanted: Vec<bool>,
        /// Which of the others are declined: offsets into the offer, rising, at least one.
        declined: Vec<(u16, Decline)>,
    },
    /// As `Ack`, when some of the entries are declined.
    Settled {
        /// As in `Ack`.
        count: u64,
        /// As in `Ack`.
        refused: Vec<u32>,
        /// Not durable but declined: offsets as those of `refused`, and none of them. At least one.
        declined: Vec<(u32, Decline)>,
    },
    /// "Are you there?", between two sides that stay together and have nothing to say.
    Ping {
        /// "I am."
        answer: bool,
    },
    /// Says nothing, and takes room on the line.
    Pad {
        /// So many zero bytes, at most [`PAD_FRAME_MAX`].
        len: usize,
    },
}

impl Frame {
    /// The encoding: header and payload. Callers keep the limits.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let kind = match self {
            Self::Limited => LIMITED,
            Self::Since { position } => {
                writer.u64(*position);
                SINCE
            }
            Self::Entries(entries) => {
                for entry in entries {
                    writer.u32(len32(entry.bytes.len())).raw(&entry.prefix).raw(&entry.bytes);
                }
                ENTRIES
            }
            Self::Offer(ids) => {
                write_ids(&mut writer, ids);
                OFFER
            }
            Self::Want(flags) => {
                write_flags(&mut writer, flags);
                WANT
            }
            Self::Gone(ids) => {
                write_ids(&mut writer, ids);
                GONE
            }
            Self::Ack { count, refused } => {
                writer.u64(*count);
                for offset in refused {
                    writer.u32(*offset);
                }
                ACK
            }
            Self::Mark { position, end } => {
                writer.u8(if *end { MARK_END } else { 0 }).u64(*position);
                MARK
            }
            Self::Done { received, fingerprint, busy } => {
                writer.u8(if *busy { DONE_BUSY } else { 0 }).u64(*received);
                fingerprint.encode(&mut writer);
                DONE
            }
            Self::Compare(comparison) => {
                comparison.encode(&mut writer);
                COMPARE
            }
            Self::Past(ids) => {
                write_ids(&mut writer, ids);
                PAST
            }
            Self::SizedOffer(offered) => {
                for (id, size) in offered {
                    writer.raw(id.as_bytes()).u32(*size);
                }
                SIZED_OFFER
            }
            Self::Answer { wanted, declined } => {
                write_flags(&mut writer, wanted);
                for (offset, why) in declined {
                    writer.u16(*offset).u8(why.code());
                }
                ANSWER
            }
            Self::Settled { count, refused, declined } => {
                writer.u64(*count).u32(len32(refused.len()));
                for offset in refused {
                    writer.u32(*offset);
                }
                for (offset, why) in declined {
                    writer.u32(*offset).u8(why.code());
                }
                SETTLED
            }
            Self::Ping { answer } => {
                writer.u8(if *answer { PING_ANSWER } else { 0 });
                PING
            }
            Self::Pad { len } => {
                writer.raw(&vec![0; *len]);
                PAD
            }
        };
        let payload = writer.finish();
        let mut out = Vec::with_capacity(HEADER_LEN + payload.len());
        out.push(kind);
        out.extend_from_slice(&len32(payload.len()).to_be_bytes());
        out.extend_from_slice(&payload);
        out
    }

    /// Takes the next whole frame from the front of `input`; `None` while it is incomplete. At most
    /// five bytes and [`FRAME_MAX`] are ever waited for.
    ///
    /// # Errors
    /// [`Fault`]; a length is judged as soon as the header is there.
    pub fn take(input: &mut BytesMut) -> Result<Option<Self>, Fault> {
        let Some((header, rest)) = input.split_at_checked(HEADER_LEN) else { return Ok(None) };
        let kind = header[0];
        let len = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if len > payload_max(kind).ok_or(Fault::UnknownFrame)? {
            return Err(Fault::FrameTooLong);
        }
        if rest.len() < len {
            return Ok(None);
        }
        input.advance(HEADER_LEN);
        let payload = input.split_to(len).freeze();
        Self::decode(kind, payload).map(Some).map_err(|_| Fault::Malformed)
    }

    fn decode(kind: u8, mut payload: Bytes) -> Result<Self, DecodeError> {
        if kind == ENTRIES {
            return decode_entries(&mut payload);
        }
        let mut reader = Reader::new(&payload);
        let frame = match kind {
            LIMITED => Self::Limited,
            SINCE => Self::Since { position: position(&mut reader)? },
            OFFER => Self::Offer(read_ids(&mut reader)?),
            GONE => Self::Gone(read_ids(&mut reader)?),
            WANT => Self::Want(read_flags(&mut reader, OFFER_IDS_MAX)?),
            ACK => {
                let count = reader.u64("acknowledged")?;
                let mut refused = Vec::with_capacity(reader.remaining() / 4);
                while reader.remaining() > 0 {
                    push_rising(&mut refused, reader.u32("refused")?)?;
                }
                Self::Ack { count, refused }
            }
            MARK => {
                let end = flag(&mut reader, MARK_END)?;
                Self::Mark { position: position(&mut reader)?, end }
            }
            DONE => {
                let busy = flag(&mut reader, DONE_BUSY)?;
                let received = reader.u64("received")?;
                Self::Done { received, fingerprint: Fingerprint::decode(&mut reader)?, busy }
            }
            COMPARE => Self::Compare(Comparison::decode(&mut reader)?),
            PAST => Self::Past(read_ids(&mut reader)?),
            SIZED_OFFER => {
                let mut offered = Vec::with_capacity(reader.remaining() / SIZED_ID);
                while reader.remaining() > 0 {
                    offered.push((EntryId::from_bytes(reader.array("id")?), size(&mut reader)?));
                }
                Self::SizedOffer(some(offered, "ids")?)
            }
            ANSWER => {
                let wanted = read_flags(&mut reader, OFFER_IDS_MAX)?;
                let declined = read_declined(&mut reader, |reader| reader.u16("declined"))?;
                let stray = |(offset, _): &(u16, _)| wanted.get(usize::from(*offset)) != Some(&false);
                if declined.iter().any(stray) {
                    return Err(DecodeError::Invalid { field: "declined" });
                }
                Self::Answer { wanted, declined }
            }
            SETTLED => {
                let count = reader.u64("acknowledged")?;
                let len = reader.u32("refused")? as usize;
                // Each takes four bytes that must be there.
                let mut refused = Vec::with_capacity(len.min(reader.remaining() / 4));
                for _ in 0..len {
                    push_rising(&mut refused, reader.u32("refused")?)?;
                }
                let declined = read_declined(&mut reader, |reader| reader.u32("declined"))?;
                if declined.iter().any(|(offset, _)| refused.binary_search(offset).is_ok()) {
                    return Err(DecodeError::Invalid { field: "declined" });
                }
                Self::Settled { count, refused, declined }
            }
            PING => Self::Ping { answer: flag(&mut reader, PING_ANSWER)? },
            PAD => {
                let zeros = reader.rest();
                if zeros.iter().any(|byte| *byte != 0) {
                    return Err(DecodeError::Invalid { field: "padding" });
                }
                Self::Pad { len: zeros.len() }
            }
            _ => return Err(DecodeError::Invalid { field: "frame type" }),
        };
        reader.end()?;
        Ok(frame)
    }
}

/// Writes one `Entries` frame without going through [`WireEntry`].
pub(super) fn encode_entries(entries: &[(EntryId, Bytes)]) -> Bytes {
    let payload: usize = entries.iter().map(|(_, bytes)| ENTRY_OVERHEAD + bytes.len()).sum();
    let mut out = BytesMut::with_capacity(HEADER_LEN + payload);
    out.extend_from_slice(&[ENTRIES]);
    out.extend_from_slice(&len32(payload).to_be_bytes());
    for (id, bytes) in entries {
        out.extend_from_slice(&len32(bytes.len()).to_be_bytes());
        out.extend_from_slice(&id.as_bytes()[..ID_PREFIX]);
        out.extend_from_slice(bytes);
    }
    out.freeze()
}

/// The limits keep every length far below 4 GiB.
fn len32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

const fn payload_max(kind: u8) -> Option<usize> {
    match kind {
        SINCE => Some(8),
        ENTRIES => Some(FRAME_MAX),
        OFFER | GONE | PAST => Some(OFFER_IDS_MAX * EntryId::LEN),
        WANT => Some(2 + OFFER_IDS_MAX / 8),
        ACK => Some(8 + 4 * OFFERED_MAX),
        MARK => Some(9),
        DONE => Some(9 + Fingerprint::LEN),
        LIMITED => Some(0),
        COMPARE => Some(COMPARE_FRAME_MAX),
        SIZED_OFFER => Some(OFFER_IDS_MAX * SIZED_ID),
        ANSWER => Some(2 + OFFER_IDS_MAX / 8 + 3 * OFFER_IDS_MAX),
        SETTLED => Some(12 + 5 * OFFERED_MAX),
        PING => Some(1),
        PAD => Some(PAD_FRAME_MAX),
        _ => None,
    }
}

fn decode_entries(payload: &mut Bytes) -> Result<Frame, DecodeError> {
    let field = "entry";
    let total = payload.len();
    let mut entries = Vec::new();
    while payload.has_remaining() {
        let mut reader = Reader::new(payload);
        let len = reader.u32(field)? as usize;
        let prefix = reader.array(field)?;
        if len < ENTRY_SEALED_MIN {
            return Err(DecodeError::Invalid { field });
        }
        if len > ENTRY_SEALED_MAX {
            return Err(DecodeError::TooLong { field, limit: ENTRY_SEALED_MAX });
        }
        if reader.remaining() < len {
            return Err(DecodeError::Truncated { field });
        }
        payload.advance(ENTRY_OVERHEAD);
        entries.push(WireEntry { prefix, bytes: payload.split_to(len) });
    }
    if entries.is_empty() || (entries.len() > 1 && total > ENTRIES_FRAME_MAX) {
        return Err(DecodeError::Invalid { field });
    }
    Ok(Frame::Entries(entries))
}

fn position(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let position = reader.u64("position")?;
    if position > POSITION_MAX {
        return Err(DecodeError::Invalid { field: "position" });
    }
    Ok(position)
}

fn flag(reader: &mut Reader<'_>, meaning: u8) -> Result<bool, DecodeError> {
    match reader.u8("flags")? {
        0 => Ok(false),
        flags if flags == meaning => Ok(true),
        _ => Err(DecodeError::Invalid { field: "flags" }),
    }
}

fn write_ids(writer: &mut Writer, ids: &[EntryId]) {
    for id in ids {
        writer.raw(id.as_bytes());
    }
}

fn read_ids(reader: &mut Reader<'_>) -> Result<Vec<EntryId>, DecodeError> {
    let mut ids = Vec::with_capacity(reader.remaining() / EntryId::LEN);
    while reader.remaining() > 0 {
        ids.push(EntryId::from_bytes(reader.array("id")?));
    }
    some(ids, "ids")
}

fn some<T>(items: Vec<T>, field: &'static str) -> Result<Vec<T>, DecodeError> {
    if items.is_empty() { Err(DecodeError::Invalid { field }) } else { Ok(items) }
}

fn push_rising(offsets: &mut Vec<u32>, offset: u32) -> Result<(), DecodeError> {
    if offsets.last().is_some_and(|last| *last >= offset) {
        return Err(DecodeError::Invalid { field: "refused" });
    }
    offsets.push(offset);
    Ok(())
}

/// Pairs of an offset and a reason, up to the end of the payload: at least one, offsets rising.
fn read_declined<O: Ord>(
    reader: &mut Reader<'_>,
    offset: impl Fn(&mut Reader<'_>) -> Result<O, DecodeError>,
) -> Result<Vec<(O, Decline)>, DecodeError> {
    let mut declined: Vec<(O, Decline)> = Vec::new();
    while reader.remaining() > 0 {
        let offset = offset(reader)?;
        let why = Decline::from_code(reader.u8("declined")?);
        let rises = declined.last().is_none_or(|(last, _)| *last < offset);
        let why = why.filter(|_| rises).ok_or(DecodeError::Invalid { field: "declined" })?;
        declined.push((offset, why));
    }
    some(declined, "declined")
}

fn size(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    let size = reader.u32("size")?;
    let possible = (ENTRY_SEALED_MIN..=ENTRY_SEALED_MAX).contains(&(size as usize));
    if possible { Ok(size) } else { Err(DecodeError::Invalid { field: "size" }) }
}

#[cfg(test)]
mod tests {
    use super::super::comparison::Part;
    use super::super::limits::{ID_SHORT, LIST_IDS_MAX, SUMS_MAX};
    use super::super::span::{DIGEST_LEN, Span};
    use super::*;

    fn every_kind() -> Vec<Frame> {
        let id = |n: u8| EntryId::from_bytes([n; 32]);
        let entry = |n: u8, len| WireEntry { prefix: [n; 8], bytes: vec![n; len].into() };
        vec![
            Frame::Since { position: 0 },
            Frame::Entries(vec![entry(1, 1_100), entry(2, ENTRY_SEALED_MIN)]),
            Frame::Entries(vec![entry(3, ENTRY_SEALED_MAX)]),
            Frame::Offer(vec![id(1), id(2)]),
            Frame::Want(vec![true, false, false, false, false, false, false, false, true]),
            Frame::Gone(vec![id(3)]),
            Frame::Ack { count: 7, refused: vec![] },
            Frame::Ack { count: 9, refused: vec![0, 1] },
            Frame::Mark { position: POSITION_MAX, end: true },
            Frame::Limited,
            Frame::Done { received: 3, fingerprint: [id(4)].into_iter().collect(), busy: false },
            Frame::Compare(comparison()),
            Frame::Compare(Comparison::default()),
            Frame::Past(vec![id(5)]),
            Frame::SizedOffer(vec![(id(1), 1_100), (id(2), u32::try_from(ENTRY_SEALED_MAX).unwrap())]),
            Frame::Answer {
                wanted: vec![true, false, false],
                declined: vec![(1, Decline::Full), (2, Decline::Other(200))],
            },
            Frame::Ping { answer: false },
            Frame::Ping { answer: true },
            Frame::Pad { len: 0 },
            Frame::Pad { len: 100 },
            Frame::Settled { count: 9, refused: vec![], declined: vec![(3, Decline::Size)] },
            Frame::Settled { count: 9, refused: vec![1, 4], declined: vec![(0, Decline::Share)] },
        ]
    }

    fn comparison() -> Comparison {
        let span = |first, last| Span::new(first, last).unwrap();
        let listed = |n: u8| {
            let mut id = [9; ID_SHORT];
            id[..8].copy_from_slice(&(1_u64 << 60).to_be_bytes());
            id[8] = n;
            id
        };
        Comparison {
            lacks: vec![vec![true, false, true], vec![false; 9]],
            parts: vec![
                Part::Sums { span: span(0, 3), sums: vec![[1; DIGEST_LEN], [2; DIGEST_LEN]] },
                Part::List { span: span(4, 4), ids: vec![] },
                Part::List { span: span(5, u64::MAX), ids: vec![listed(1), listed(2)] },
            ],
        }
    }

    #[test]
    fn a_comparison_that_is_not_in_order_or_too_much_is_refused() {
        let good = comparison();
        let (sums, list) = (good.parts[0].clone(), good.parts[2].clone());
        let with = |parts: Vec<Part>| Comparison { parts, ..good.clone() };
        let Part::List { span, ids } = list.clone() else { panic!() };
        let listed = |ids| Part::List { span, ids };
        let summed = |span, count| Part::Sums { span, sums: vec![[7; DIGEST_LEN]; count] };
        let cases = [
            ("the same span twice", with(vec![sums.clone(), sums.clone()])),
            ("falling", with(vec![list.clone(), sums.clone()])),
            ("overlapping", with(vec![summed(Span::WHOLE, 2), list])),
            ("more parts than the span is wide", with(vec![summed(Span::new(0, 3).unwrap(), 5)])),
            ("no digest", with(vec![summed(Span::WHOLE, 0)])),
            ("too many digests", with(vec![summed(Span::WHOLE, SUMS_MAX + 1)])),
            (
                "too many ids",
                with(vec![listed((0..=255).map(|n| [n; ID_SHORT]).chain([[255; 16]]).collect())]),
            ),
            ("ids falling", with(vec![listed(vec![ids[1], ids[0]])])),
            ("an id twice", with(vec![listed(vec![ids[0], ids[0]])])),
            ("an id outside", with(vec![listed(vec![[0; ID_SHORT]])])),
            ("no flag", Comparison { lacks: vec![vec![]], ..good.clone() }),
            ("too many flags", Comparison { lacks: vec![vec![true; LIST_IDS_MAX + 1]], ..good.clone() }),
        ];
        for (what, comparison) in cases {
            let mut input = BytesMut::from(&Frame::Compare(comparison).encode()[..]);
            assert_eq!(Frame::take(&mut input), Err(Fault::Malformed), "{what}");
        }
        let mut bytes = Frame::Compare(with(vec![sums])).encode();
        let (first, last) = (bytes.len() - 2 * DIGEST_LEN - 18, bytes.len() - 2 * DIGEST_LEN - 10);
        bytes[first] = 9;
        assert!(bytes[last] < 9, "the bounds the wrong way round");
        assert_eq!(Frame::take(&mut BytesMut::from(&bytes[..])), Err(Fault::Malformed));
    }

    #[test]
    fn frames_survive_the_wire_in_pieces_of_one_byte() {
        let frames = every_kind();
        let mut input = BytesMut::new();
        let mut came = Vec::new();
        for byte in
            frames.iter().filter(|f| !matches!(f, Frame::Entries(e) if e.len() == 1)).flat_map(Frame::encode)
        {
            input.extend_from_slice(&[byte]);
            came.extend(Frame::take(&mut input).unwrap());
        }
        assert_eq!(came.len(), frames.len() - 1);
        for frame in frames {
            let mut input = BytesMut::from(&frame.encode()[..]);
            assert_eq!(Frame::take(&mut input), Ok(Some(frame)));
            assert!(input.is_empty());
        }
    }

    #[test]
    fn a_length_is_judged_before_its_bytes_come() {
        for kind in 0..=u8::MAX {
            let mut input = BytesMut::from(&[kind, 0xff, 0, 0, 0][..]);
            let expected =
                if (SINCE..=PAD).contains(&kind) { Fault::FrameTooLong } else { Fault::UnknownFrame };
            assert_eq!(Frame::take(&mut input), Err(expected), "type {kind}");
        }
    }

    #[test]
    fn a_frame_has_one_encoding() {
        for frame in every_kind() {
            let good = frame.encode();
            for at in HEADER_LEN..good.len().min(160) {
                for bit in 0..8 {
                    let mut other = good.clone();
                    other[at] ^= 1 << bit;
                    let mut input = BytesMut::from(&other[..]);
                    if let Ok(Some(read)) = Frame::take(&mut input) {
                        assert_eq!(read.encode(), other, "byte {at} of {frame:?}");
                    }
                }
            }
        }
    }
}
