//! Checkpoints: the replica as it stands after a segment, in pieces, so that a process that starts need not do
//! the whole log again. One small object says which is the latest. It is a help and no authority: all segments
//! stay, so a start without it, or with an older one, takes longer and comes to the same.
//!
//! Why segments stay: a segment's name must be taken for ever. If one were removed, a process that was
//! suspended before it could write another under its number.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use fieldbook_depot::{DepotError, DepotKey, SqlDepot};
use fieldbook_proto::DepotId;
use fieldbook_proto::codec::{DecodeError, Reader, Writer};

use crate::log::{Log, Place};
use crate::objects::Objects;
use crate::op::{ObjectName, Op};
use crate::seal::{OVERHEAD_MAX, Sealer, random};

/// The object that names the latest.
const LATEST: &str = "checkpoint";
/// Bytes of a piece.
const PIECE: usize = 4 << 20;
/// Pieces in memory at a time.
const PIECES_AT_ONCE: usize = 4;
const PIECES_MAX: usize = 65_536;
const VERSION: u8 = 1;

/// When a checkpoint is written.
#[derive(Debug, Clone, Copy)]
pub struct CheckpointRule {
    /// Not before so many segments have come since the last.
    pub segments: u64,
    /// And not before their bytes are this part of the last checkpoint's bytes, or 16 times as many have come:
    /// the cost of checkpoints stays in proportion to what is written.
    pub part: u64,
}

impl Default for CheckpointRule {
    fn default() -> Self {
        Self { segments: 512, part: 8 }
    }
}

/// A piece of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    name: ObjectName,
    hash: [u8; 32],
}

/// The content of [`LATEST`].
struct Latest {
    number: u64,
    hash: [u8; 32],
    fence: u64,
    key: DepotKey,
    size: u64,
    pieces: Vec<Piece>,
    /// Those of the one before, which somebody may still be reading.
    before: Vec<ObjectName>,
}

impl Latest {
    fn encode(&self) -> Vec<u8> {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let mut out = Writer::new();
        out.u8(VERSION).u64(self.number).raw(&self.hash).u64(self.fence).raw(self.key.as_bytes());
        out.u64(self.size).u32(count(self.pieces.len()));
        for piece in &self.pieces {
            out.raw(&piece.name).raw(&piece.hash);
        }
        out.u32(count(self.before.len()));
        for name in &self.before {
            out.raw(name);
        }
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.u8("version")? != VERSION {
            return Err(DecodeError::Invalid { field: "version" });
        }
        let (number, hash, fence) = (reader.u64("number")?, reader.array("hash")?, reader.u64("fence")?);
        let (key, size) = (DepotKey::new(reader.array("key")?), reader.u64("size")?);
        let count = reader.count("pieces", PIECES_MAX)?;
        let pieces = (0..count)
            .map(|_| Ok(Piece { name: reader.array("piece")?, hash: reader.array("hash")? }))
            .collect::<Result<_, DecodeError>>()?;
        let count = reader.count("before", PIECES_MAX)?;
        let before = (0..count).map(|_| reader.array("before")).collect::<Result<_, _>>()?;
        reader.end()?;
        Ok(Self { number, hash, fence, key, size, pieces, before })
    }
}

pub(crate) fn piece_name(name: &ObjectName) -> String {
    format!("c/{:032x}", u128::from_be_bytes(*name))
}

fn latest(objects: &Objects, sealer: &Sealer) -> Result<Option<Latest>, DepotError> {
    let limit = PIECES_MAX * 64 + OVERHEAD_MAX;
    let Some(object) = objects.get(LATEST, limit)? else { return Ok(None) };
    // One that does not read back is as good as none.
    Ok(sealer.open(LATEST, &object).ok().and_then(|content| Latest::decode(&content).ok()))
}

/// All pieces that the latest checkpoint and the one before need.
pub(crate) fn pieces(log: &Log) -> Result<Vec<ObjectName>, DepotError> {
    let latest = latest(&log.objects, &log.sealer)?;
    Ok(latest.map_or_else(Vec::new, |latest| {
        latest.pieces.iter().map(|piece| piece.name).chain(latest.before.iter().copied()).collect()
    }))
}

/// A replica from the latest checkpoint, or an empty one.
pub(crate) fn load(
    objects: &Objects,
    sealer: &Sealer,
    folder: &Path,
    depot: DepotId,
) -> Result<(SqlDepot, Place), DepotError> {
    remove_leftovers(folder);
    if let Some(latest) = latest(objects, sealer)?
        && let Some(replica) = fetch(objects, folder, &latest)?
    {
        let place = Place {
            number: latest.number,
            hash: latest.hash,
            fence: latest.fence,
            checkpoint: latest.number,
            bytes_since: 0,
        };
        return Ok((replica, place));
    }
    let place = Place { number: 0, hash: [0; 32], fence: 0, checkpoint: 0, bytes_since: 0 };
    Ok((SqlDepot::create_replica(folder, depot)?, place))
}

/// `None`: pieces are missing or altered, or a newer program wrote them; the log is read from its beginning.
fn fetch(objects: &Objects, folder: &Path, latest: &Latest) -> Result<Option<SqlDepot>, DepotError> {
    let part = Part::new(folder)?;
    let mut file = private(&part.0)?;
    for pieces in latest.pieces.chunks(PIECES_AT_ONCE) {
        let names: Vec<String> = pieces.iter().map(|piece| piece_name(&piece.name)).collect();
        for (piece, bytes) in pieces.iter().zip(objects.get_all(&names, PIECE)?) {
            match bytes {
                Some(bytes) if *blake3::hash(&bytes).as_bytes() == piece.hash => file.write_all(&bytes)?,
                _ => return Ok(None),
            }
        }
    }
    drop(file);
    Ok(SqlDepot::open_replica(&part.0, &latest.key).ok())
}

/// Writes a checkpoint in the background when the rule says so and none is being written.
pub(crate) fn when_due(log: &Arc<Log>, rule: CheckpointRule) {
    // Nobody waits for it: if something moves, the next act asks again.
    let Some(place) = log.place() else { return };
    let since = place.number.saturating_sub(place.checkpoint);
    if since < rule.segments || log.writing_checkpoint.swap(true, SeqCst) {
        return;
    }
    let log = log.clone();
    std::thread::spawn(move || {
        // A failure costs the next start some time; the next due one tries again.
        let _ = write(&log, |size| place.bytes_since * rule.part >= size || since >= rule.segments * 16);
        log.writing_checkpoint.store(false, SeqCst);
    });
}

/// Writes a checkpoint, if `worth` says of the last one's size that it is. False if not.
pub(crate) fn write(log: &Log, worth: impl FnOnce(u64) -> bool) -> Result<bool, DepotError> {
    let last = latest(&log.objects, &log.sealer)?;
    if !worth(last.as_ref().map_or(0, |last| last.size)) {
        return Ok(false);
    }
    let key = DepotKey::new(random()?);
    let part = Part::new(&log.folder)?;
    // Nothing moves while it is copied; sending it takes longer, and others go on.
    let place = log.still(|place| {
        log.replica.copy_all_to(&part.0, &key)?;
        Ok(place.clone())
    })?;
    let mut file = File::open(&part.0)?;
    // From here on it has no name.
    drop(part);
    let (mut pieces, mut size) = (Vec::new(), 0);
    loop {
        let mut bytes = Vec::new();
        (&mut file).take(PIECE as u64).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            break;
        }
        size += bytes.len() as u64;
        let piece = Piece { name: random()?, hash: *blake3::hash(&bytes).as_bytes() };
        log.objects.put(&piece_name(&piece.name), Bytes::from(bytes))?;
        pieces.push(piece);
    }
    let (before, old) = last.map_or_else(Default::default, |last| {
        (last.pieces.into_iter().map(|piece| piece.name).collect::<Vec<_>>(), last.before)
    });
    let next =
        Latest { number: place.number, hash: place.hash, fence: place.fence, key, size, pieces, before };
    log.objects.put(LATEST, Bytes::from(log.sealer.seal(LATEST, &next.encode())?))?;
    log.append(vec![Op::Checkpointed(next.number)], None).map_err(DepotError::from)?;
    for name in old {
        log.objects.delete(&piece_name(&name))?;
    }
    Ok(true)
}

/// A file that is there for a moment.
struct Part(PathBuf);

const PREFIX: &str = "bucket-";

impl Part {
    fn new(folder: &Path) -> Result<Self, DepotError> {
        let number = u64::from_be_bytes(random()?);
        Ok(Self(folder.join(format!("{PREFIX}{}-{number:016x}", std::process::id()))))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn private(path: &Path) -> Result<File, DepotError> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok(options.open(path)?)
}

/// Removes what a process that was killed has left: nobody has its key.
fn remove_leftovers(folder: &Path) {
    if !Path::new("/proc/self").exists() {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
        if let Some((process, _)) = process
            && process.parse::<u32>().is_ok()
            && !Path::new("/proc").join(process).exists()
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
