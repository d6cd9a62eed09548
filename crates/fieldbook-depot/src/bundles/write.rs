//! Writes a bundle: everything that the other side may lack, in files that tell nothing.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use fieldbook_proto::bundle::{BLOCK_LEN, PartWriter};
use fieldbook_proto::session::TransportSecret;
use fieldbook_proto::{BundleId, DeviceId, EntryId};

use super::part_file::{PartFile, free, random_name};
use super::selection::{Except, Place, Selection, bytes, fits, sent, sent_setting};
use super::unfinished::Unfinished;
use super::{BundleError, PART_LEN_MAX, PART_LEN_MIN, random, secrets};
use crate::{Beyond, Depot};

/// Blocks are handed to the disk in pieces of about so many bytes.
const PIECE: usize = 1 << 20;

/// Where the files go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Into this directory, under names that tell nothing.
    Directory(PathBuf),
    /// Into one file of this name, which must not exist.
    File(PathBuf),
}

/// What is to be written.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Where to.
    pub target: Target,
    /// For this device: nothing that it is known to hold. `None`: for anybody, so everything.
    pub device: Option<DeviceId>,
    /// Entries that the device is known to hold from elsewhere: it wrote them, or signed for them.
    pub held: HashSet<EntryId>,
    /// Only what arrived since the last bundle for the same device, or for anybody.
    pub since_last: bool,
    /// Longest part in bytes, from [`PART_LEN_MIN`] to [`PART_LEN_MAX`]; what lies beyond is brought there.
    pub part_len: u64,
    /// Write under an older transport secret, so many steps back, for a device that has not heard of the
    /// latest removals. 0 for the newest.
    pub older: usize,
}

/// What is told while a bundle is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteEvent {
    /// Before anything is written.
    Planned {
        /// Entries.
        entries: u64,
        /// Files.
        parts: u32,
        /// Bytes of all of them.
        bytes: u64,
        /// Parts that are there from an interrupted run, and stay.
        kept: u32,
    },
    /// So many of the bytes are written.
    Progress {
        /// So far.
        bytes: u64,
    },
    /// A part is whole and durable.
    Part {
        /// Its path.
        path: PathBuf,
    },
}

/// A bundle that was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Entries in it, those of an earlier, interrupted run not counted.
    pub entries: u64,
    /// Bytes of its files, with the same exception.
    pub bytes: u64,
    /// All its files. None when there was nothing to write.
    pub parts: Vec<PathBuf>,
}

/// Writes a bundle. When it was interrupted, the same call goes on after the last whole part.
///
/// # Errors
/// [`BundleError`] says for each what is there; the depot is as before in any case.
pub fn write_bundle(
    depot: &dyn Depot,
    options: &WriteOptions,
    tell: &mut dyn FnMut(WriteEvent),
) -> Result<Written, BundleError> {
    let mut secrets = secrets(depot)?;
    let oldest = secrets.len().saturating_sub(1);
    if options.older > oldest {
        return Err(BundleError::NoSuchSecret { oldest });
    }
    let secret = secrets.swap_remove(options.older);
    let dir = match &options.target {
        Target::Directory(dir) => dir.clone(),
        Target::File(file) => {
            if std::fs::symlink_metadata(file).is_ok() {
                return Err(BundleError::Exists(file.clone()));
            }
            let parent = file.parent().filter(|dir| !dir.as_os_str().is_empty());
            parent.unwrap_or(Path::new(".")).to_owned()
        }
    };
    if let Err(source) = std::fs::read_dir(&dir) {
        return Err(BundleError::file("be used", &dir)(source));
    }
    let limit = options.part_len.clamp(PART_LEN_MIN, PART_LEN_MAX);
    let limit = limit - limit % BLOCK_LEN as u64;
    let label = options.device.map_or_else(|| "anybody".to_owned(), |device| device.to_string());
    let mut state = begin(depot, options, &dir, (&label, &secret), limit)?;

    let peer = depot.peers()?.into_iter().find(|peer| peer.device.is_some() && peer.device == options.device);
    let beyond = Beyond::all(depot)?.into_iter().find(|said| {
        peer.as_ref().is_some_and(|peer| peer.device == Some(said.device) && peer.depot == said.depot)
    });
    let except = options.device.map(|device| Except { device, beyond, held: &options.held });
    let selection = Selection { since: state.since, head: state.head, except };
    let plan = selection.plan(depot, state.place, limit)?;
    let kept = u32::try_from(state.parts.len()).unwrap_or(u32::MAX);
    if plan.parts > 1 && matches!(options.target, Target::File(_)) {
        Unfinished::forget(depot)?;
        return Err(BundleError::NeedsDirectory { parts: plan.parts });
    }
    if let Some(free) = free(&dir).filter(|free| plan.bytes > *free) {
        return Err(BundleError::NoRoom { need: plan.bytes, free });
    }
    tell(WriteEvent::Planned { entries: plan.entries, parts: plan.parts, bytes: plan.bytes, kept });
    let mut run = Run {
        depot,
        state: &mut state,
        dir: &dir,
        target: &options.target,
        secret,
        limit,
        tell,
        blocks: Vec::with_capacity(2 * PIECE),
        written: Written::default(),
    };
    run.all(&selection)?;
    let mut written = run.written;
    written.parts = state.parts.iter().map(|name| dir.join(name)).collect();
    // Only now: what was not written is not taken for sent.
    depot.set_setting(&sent_setting(&label), Some(&state.head.to_be_bytes()))?;
    Unfinished::forget(depot)?;
    Ok(written)
}

/// Goes on with what was interrupted, if it is the same and still there; else begins anew.
fn begin(
    depot: &dyn Depot,
    options: &WriteOptions,
    dir: &Path,
    (label, secret): (&str, &TransportSecret),
    limit: u64,
) -> Result<Unfinished, BundleError> {
    let absolute = std::path::absolute(dir).map_err(BundleError::file("be used", dir))?;
    let named = match &options.target {
        Target::Directory(_) => None,
        Target::File(file) => file.file_name(),
    };
    // Under another secret it is another bundle: whoever was removed meanwhile knows the one before.
    let how = format!("{label} {} {} {limit}\0", options.since_last, secret.epoch);
    let command = [
        how.as_bytes(),
        absolute.as_os_str().as_encoded_bytes(),
        b"\0",
        named.map_or(&[][..], |name| name.as_encoded_bytes()),
    ]
    .concat();
    if let Some(mut found) = Unfinished::load(depot)?.filter(|found| found.command == command) {
        found.clear(dir);
        if found.is_there(dir) {
            return Ok(found);
        }
    }
    let held = match options.device {
        Some(device) => {
            let peer = depot.peers()?.into_iter().find(|peer| peer.device == Some(device));
            peer.map_or(0, |peer| peer.holds_position)
        }
        None => 0,
    };
    let since = if options.since_last { held.max(sent(depot, label)?) } else { held };
    Ok(Unfinished {
        command,
        bundle: BundleId::from_bytes(random()?),
        since,
        head: depot.head()?,
        place: Place { large: false, after: since },
        parts: Vec::new(),
        begun: Vec::new(),
    })
}

/// One act of writing.
struct Run<'a> {
    depot: &'a dyn Depot,
    state: &'a mut Unfinished,
    dir: &'a Path,
    target: &'a Target,
    secret: TransportSecret,
    limit: u64,
    tell: &'a mut dyn FnMut(WriteEvent),
    /// Blocks that are not with the disk yet.
    blocks: Vec<u8>,
    written: Written,
}

/// A part that is being written.
struct Open {
    writer: PartWriter,
    file: PartFile,
    /// After its last entry.
    place: Place,
}

impl Run<'_> {
    fn all(&mut self, selection: &Selection<'_>) -> Result<(), BundleError> {
        let mut open: Option<Open> = None;
        let depot = self.depot;
        selection.each(depot, self.state.place, |arrival, place| {
            // Dropped since it was planned.
            let Some(sealed) = bytes(depot, &arrival.id)? else { return Ok(()) };
            if let Some(full) = open.take_if(|open| !fits(open.writer.records(), sealed.len(), self.limit)) {
                self.close(full, false)?;
            }
            let mut part = match open.take() {
                Some(part) => part,
                None => self.open(place)?,
            };
            part.writer.add(&arrival.id, &sealed, &mut random, &mut self.blocks)?;
            part.place = place;
            self.written.entries += 1;
            if self.blocks.len() >= PIECE {
                part.file = self.flush(part.file)?;
            }
            open = Some(part);
            Ok(())
        })?;
        match open {
            Some(last) => self.close(last, true),
            None => Ok(()),
        }
    }

    /// Its names are remembered before the first of them exists.
    fn open(&mut self, place: Place) -> Result<Open, BundleError> {
        let mut partial = OsString::from(".");
        partial.push(random_name()?);
        let name = match self.target {
            Target::Directory(_) => random_name()?,
            Target::File(file) => file.file_name().unwrap_or_default().to_owned(),
        };
        self.state.begun = vec![partial.clone(), name.clone()];
        self.state.store(self.depot)?;
        let file = PartFile::begin(&self.dir.join(partial), &self.dir.join(name))?;
        let number = u16::try_from(self.state.parts.len()).unwrap_or(u16::MAX);
        Ok(Open { writer: PartWriter::new(self.secret.clone(), self.state.bundle, number), file, place })
    }

    /// Hands the blocks to the disk.
    fn flush(&mut self, mut file: PartFile) -> Result<PartFile, BundleError> {
        let len = self.blocks.len() as u64;
        match file.write(&mut self.blocks) {
            Ok(()) => {
                self.written.bytes += len;
                (self.tell)(WriteEvent::Progress { bytes: self.written.bytes });
                Ok(file)
            }
            Err(error) => {
                let error = file.fail(error, self.written.bytes);
                if matches!(error, BundleError::Full { .. }) {
                    // What is on the full stick stays there, whatever comes next.
                    self.state.begun.clear();
                    self.state.store(self.depot)?;
                }
                Err(error)
            }
        }
    }

    fn close(&mut self, part: Open, last: bool) -> Result<(), BundleError> {
        part.writer.finish(last, &mut random, &mut self.blocks)?;
        let file = self.flush(part.file)?;
        let name = self.state.begun.last().cloned().unwrap_or_default();
        let path = self.dir.join(&name);
        file.keep().map_err(BundleError::file("be written", &path))?;
        self.state.begun.clear();
        self.state.parts.push(name);
        self.state.place = part.place;
        self.state.store(self.depot)?;
        (self.tell)(WriteEvent::Part { path });
        Ok(())
    }
}
