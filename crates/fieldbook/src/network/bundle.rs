//! The process that touches the stick: the job from standard input, what happened on standard output. It
//! holds the depot's key and no key that opens an entry, as every process that others' bytes reach first.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fieldbook_daemon::judge_bundle;
use fieldbook_depot::bundles::{
    BundleError, FileReport, LeftBy, MissingParts, ReadEvent, Target, WriteEvent, WriteOptions, read_bundles,
    write_bundle,
};
use fieldbook_depot::{Depot, DepotError, SqlDepot};
use fieldbook_proto::{DeviceId, EntryId};
use serde::{Deserialize, Serialize};

use super::courier::{end_with_the_parent, say};
use super::job::{self, Job, Task};
use super::relay::There;
use crate::agent::process::keep_files_private;
use crate::confine::{self, Role};
use crate::error::{Failure, Kind};
use crate::sanitise::line;
use crate::ui::size;
use crate::wipe::InUse;

/// Progress is not told more often.
const PACE: Duration = Duration::from_millis(200);

/// What is to be written.
#[derive(Debug, Serialize, Deserialize)]
pub struct Write {
    /// A directory, or a file that does not exist.
    pub to: PathBuf,
    /// The id of the device that it is for.
    pub device: Option<String>,
    /// The ids of entries that it is known to hold, beside what it said when it was met.
    #[serde(default)]
    pub held: Vec<String>,
    /// Only what arrived since the last one.
    pub since_last: bool,
    /// Longest file, in bytes.
    pub part_len: u64,
    /// How many steps back in the team's secrets.
    pub older: usize,
}

/// What the process says, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Said {
    /// Before anything is written.
    WritePlanned {
        /// Entries.
        entries: u64,
        /// Files.
        parts: u32,
        /// Their bytes.
        bytes: u64,
        /// Files of an interrupted run that stay.
        kept: u32,
    },
    /// Before anything is read.
    ReadPlanned {
        /// Files.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// So far.
    Progress {
        /// Bytes.
        bytes: u64,
    },
    /// A file is whole and durable.
    Part {
        /// Its path.
        file: String,
    },
    /// A file was read.
    File(File),
    /// The bundle is whole and durable.
    Written(Written),
    /// Everything was read.
    Read(Read),
    /// It did not work.
    Failed(Failure),
}

/// A bundle that was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Entries that this run wrote.
    pub entries: u64,
    /// Bytes that this run wrote.
    pub bytes: u64,
    /// All files of the bundle.
    pub files: Vec<String>,
}

/// A file that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its path.
    pub file: String,
    /// Whether it is a bundle of this team.
    pub bundle: bool,
    /// Whether nothing of it is missing or damaged.
    pub whole: bool,
    /// Which part of its bundle it is, from 1.
    pub part: Option<u32>,
    /// Entries that are new here.
    pub new: u64,
    /// Entries that were here.
    pub known: u64,
    /// Blocks of it that are damaged, of how many.
    pub damaged_blocks: u64,
    /// Blocks that the disk did not give.
    #[serde(default)]
    pub not_read_blocks: u64,
    /// Its blocks.
    pub blocks: u64,
    /// Blocks that lie in a wrong place.
    pub misplaced_blocks: u64,
    /// Whether its end is missing.
    pub torn: bool,
    /// Entries that began and whose rest is damaged or missing.
    pub cut: u64,
    /// Entries that are not what their id says, and records that no program of ours writes.
    pub refused: u64,
    /// Ids of entries that were cut or refused, not more than some dozens.
    pub entries: Vec<String>,
    /// Entries that stay on the stick.
    pub left: Left,
    /// Bytes at its end that were not looked at.
    pub not_looked_bytes: u64,
    /// Whether a newer program wrote it.
    pub newer: bool,
    /// Why it could not be opened.
    pub unreadable: Option<String>,
}

/// Everything that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Files that are bundles of this team.
    pub files: u64,
    /// Other files.
    pub others: u64,
    /// Files that cannot be opened or read: what they are nobody can tell.
    #[serde(default)]
    pub unreadable: u64,
    /// Of the first, how many are not whole.
    pub damaged: u64,
    /// Files that a newer program wrote.
    pub newer: u64,
    /// Entries that are new here.
    pub new: u64,
    /// Entries that were here.
    pub known: u64,
    /// Entries that were not taken.
    pub refused: u64,
    /// Entries that stay on the stick, because this device does not carry them now.
    pub left: Left,
    /// What lies there and was not looked at.
    pub not_looked: NotLooked,
    /// Bundles whose other files were not there.
    pub missing: Vec<Missing>,
}

/// Entries that are in order and stay where they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// How many.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the entries, those of a size that this device does not carry.
    pub size: u64,
    /// Those for which it holds too much already.
    pub total: u64,
    /// Those for which it holds too much from bundles.
    pub share: u64,
    /// Those for which the disk has no room.
    pub disk: u64,
}

impl From<LeftBy> for Left {
    fn from(left: LeftBy) -> Self {
        let all = left.all();
        Self {
            entries: all.entries,
            bytes: all.bytes,
            size: left.size.entries,
            total: left.total.entries,
            share: left.share.entries,
            disk: left.disk.entries,
        }
    }
}

/// What lies there and was not looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotLooked {
    /// Directories in the directories that were named.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Pipes, sockets and devices.
    pub special: u64,
    /// Files beyond the limit.
    pub files: u64,
    /// Bytes of files that begin as something else, beyond the limit.
    pub bytes: u64,
    /// Directories whose list of files did not end, or ended with an error.
    pub lists: u64,
}

/// A bundle of which files were not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Files of it that were there.
    pub read: u32,
    /// Files of it that were not.
    pub missing: u32,
    /// Whether there are no more than these.
    pub exact: bool,
}

/// Runs the process.
///
/// # Errors
/// The job is not understood; everything else is told on standard output.
pub fn run() -> Result<(), Failure> {
    keep_files_private();
    let Job { network, task } = job::read(&mut io::stdin().lock())?;
    let key = job::depot_key(&network)?;
    let _in_use = InUse::of_depot(&network.depot);
    let opened = SqlDepot::open(&network.depot, &key).map_err(Failure::from);
    let opened = opened.and_then(|depot| {
        let reads = matches!(task, Task::ReadBundles { .. });
        let there = if reads { There::remembered(&depot)? } else { None };
        Ok((there, depot))
    });
    let there = opened.as_ref().ok().and_then(|(there, _)| there.as_ref());
    confine::enforce(&role(&network.depot, &task, there)?);
    end_with_the_parent(io::stdin());
    let done = opened.and_then(|(there, depot)| match task {
        Task::WriteBundle(task) => write(&depot, task),
        Task::ReadBundles { paths } => read_where_it_is(&depot, &network.depot, there.as_ref(), &paths),
        _ => Err(Failure::failed("internal", "this job is not about bundles")),
    });
    say(&done.unwrap_or_else(Said::Failed))
}

/// It reaches the stick besides the depot, and the network only if the depot is there.
fn role<'a>(depot: &'a Path, task: &Task, there: Option<&There>) -> Result<Role<'a>, Failure> {
    let mut role = super::relay::carrier(depot, there)?;
    if let Role::Carrier { reads, writes, .. } = &mut role {
        match task {
            Task::ReadBundles { paths } => reads.extend(paths.iter().cloned()),
            Task::WriteBundle(Write { to, .. }) if to.is_dir() => writes.push(to.clone()),
            Task::WriteBundle(Write { to, .. }) => {
                let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
                writes.push(folder.unwrap_or(Path::new(".")).to_owned());
            }
            _ => {}
        }
    }
    Ok(role)
}

fn write(depot: &SqlDepot, task: Write) -> Result<Said, Failure> {
    let device = task.device.map(|id| id.parse::<DeviceId>()).transpose();
    let device = device.map_err(|error| Failure::failed("internal", error.to_string()))?;
    let options = WriteOptions {
        target: if task.to.is_dir() { Target::Directory(task.to) } else { Target::File(task.to) },
        device,
        // It saves room on the stick: what does not read is written.
        held: task.held.iter().filter_map(|id| id.parse::<EntryId>().ok()).collect(),
        since_last: task.since_last,
        part_len: task.part_len,
        older: task.older,
    };
    let mut pace = Pace::default();
    let written = write_bundle(depot, &options, &mut |event| match event {
        WriteEvent::Planned { entries, parts, bytes, kept } => {
            tell(&Said::WritePlanned { entries, parts, bytes, kept });
        }
        WriteEvent::Progress { bytes } => pace.progress(bytes),
        WriteEvent::Part { path } => tell(&Said::Part { file: path.to_string_lossy().into_owned() }),
    })?;
    let files = written.parts.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    Ok(Said::Written(Written { entries: written.entries, bytes: written.bytes, files }))
}

/// A relay whose depot is in a bucket takes the bundle in there, where its policy is, too.
#[cfg(feature = "bucket")]
fn read_where_it_is(
    local: &SqlDepot,
    path: &Path,
    there: Option<&There>,
    paths: &[PathBuf],
) -> Result<Said, Failure> {
    match there {
        Some(there) => read(&there.open(path)?, paths),
        None => read(local, paths),
    }
}

#[cfg(not(feature = "bucket"))]
fn read_where_it_is(
    local: &SqlDepot,
    _: &Path,
    _: Option<&There>,
    paths: &[PathBuf],
) -> Result<Said, Failure> {
    read(local, paths)
}

fn read(depot: &dyn Depot, paths: &[PathBuf]) -> Result<Said, Failure> {
    let mut pace = Pace::default();
    let mut judge = judge_bundle(depot)?;
    let summary = read_bundles(depot, paths, judge.as_mut(), &mut |event| match event {
        ReadEvent::Planned { files, bytes } => tell(&Said::ReadPlanned { files, bytes }),
        ReadEvent::Progress { bytes } => pace.progress(bytes),
        ReadEvent::File(report) => tell(&Said::File(file(*report))),
    })?;
    let missing = |missing: MissingParts| Missing {
        read: missing.read,
        missing: missing.missing,
        exact: missing.exact,
    };
    Ok(Said::Read(Read {
        files: summary.parts,
        others: summary.others,
        unreadable: summary.unreadable,
        damaged: summary.damaged,
        newer: summary.newer,
        new: summary.new,
        known: summary.known,
        refused: summary.refused,
        left: summary.left.into(),
        not_looked: NotLooked {
            folders: summary.not_looked.folders,
            links: summary.not_looked.links,
            special: summary.not_looked.special,
            files: summary.not_looked.files,
            bytes: summary.not_looked.bytes,
            lists: summary.not_looked.lists,
        },
        missing: summary.missing.into_iter().map(missing).collect(),
    }))
}

fn file(report: FileReport) -> File {
    let (whole, part) = (report.is_whole(), &report.part);
    let ids = part.cut_ids.iter().chain(&report.refused_ids);
    File {
        file: report.path.to_string_lossy().into_owned(),
        bundle: part.is_bundle(),
        whole,
        part: part.part.map(|part| u32::from(part.number) + 1),
        new: report.new,
        known: report.known,
        damaged_blocks: part.damaged.saturating_sub(report.not_read),
        not_read_blocks: report.not_read,
        blocks: part.blocks,
        misplaced_blocks: part.misplaced,
        torn: part.is_bundle() && part.newer == 0 && part.is_torn(),
        cut: part.cut,
        refused: report.refused + part.impossible,
        entries: ids.map(ToString::to_string).collect(),
        left: report.left.into(),
        not_looked_bytes: report.not_looked,
        newer: part.newer > 0,
        unreadable: report.unreadable,
    }
}

/// When progress was told last.
#[derive(Default)]
struct Pace(Option<Instant>);

impl Pace {
    fn progress(&mut self, bytes: u64) {
        if self.0.is_none_or(|told| told.elapsed() >= PACE) {
            self.0 = Some(Instant::now());
            tell(&Said::Progress { bytes });
        }
    }
}

/// A parent that is gone ends this process by itself.
fn tell(said: &Said) {
    let _ = say(said);
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::NoTeam => fieldbook_vault::VaultError::NoTeam.into(),
            BundleError::NoSuchSecret { oldest } => Self::usage(
                "no-such-secret",
                format!("--older is at most {oldest} here: what came before, this device does not know"),
            ),
            BundleError::Exists(path) => {
                Self::failed("file-exists", format!("{} exists already", line(&path.to_string_lossy())))
                    .hint("choose another name, or name a directory")
            }
            BundleError::NeedsDirectory { parts } => {
                Self::failed("several-parts", format!("the bundle needs {parts} files; nothing was written"))
                    .hint("name a directory")
            }
            BundleError::NoRoom { need, free } => Self::failed(
                "no-room",
                format!(
                    "the bundle needs {}, and there are {} free; nothing was written",
                    size(need),
                    size(free)
                ),
            )
            .hint("make room or take a larger stick; with --since last, or --for, less is written"),
            BundleError::Full { written } => Self::failed(
                "stick-full",
                format!("there is no room left; the {} that were written can be read", size(written)),
            )
            .hint("nothing is lost here; write again to a larger stick"),
            BundleError::File { doing, path, source } => Self::file(
                Kind::Failed,
                "bundle-file",
                format!("{} cannot {doing}", line(&path.to_string_lossy())),
            )(source),
            BundleError::NoRandomness => Self::failed("no-randomness", error.to_string()),
            BundleError::Depot(error) => error.into(),
        }
    }
}

impl From<DepotError> for Failure {
    fn from(error: DepotError) -> Self {
        fieldbook_daemon::DaemonError::Depot(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_says_names_the_file_and_what_to_do() {
        let error = BundleError::File {
            doing: "be written",
            path: "stick/a".into(),
            source: io::Error::from_raw_os_error(30),
        };
        let failure = Failure::from(error);
        assert!(failure.message.starts_with("stick/a cannot be written: "), "{failure}");
        assert!(failure.hint.is_some_and(|hint| hint.contains("can be written")));
    }
}
