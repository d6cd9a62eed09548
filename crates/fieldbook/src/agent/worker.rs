//! The merge worker: a child of the agent that merges changes which others wrote.
//!
//! A crafted change may make automerge panic, loop or ask for memory without end. Here it costs the
//! worker, and thereby that entry, and nothing else: the worker has a cap on its memory and its time,
//! no key, no vault and no network of its own, and the next merge starts another one.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fieldbook_vault::{InProcess, MergeRefusal, MergeRequest, Merged, Merger, decode_answer, encode_answer};
use rustix::process::{Resource, Rlimit};

use crate::confine::{self, Role};
use crate::error::Failure;

/// Longest frame between agent and worker: two documents and changes, with room.
const FRAME_MAX: usize = 256 << 20;
/// Address space of a worker. A report at its limits needs a small part of it.
const MEMORY_MAX: u64 = 2 << 30;
/// A merge that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Merges in a worker process, which is started when it is first needed.
#[derive(Debug, Default)]
pub struct Worker {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Merger for Worker {
    fn merge(&mut self, request: &MergeRequest<'_>) -> Result<Merged, MergeRefusal> {
        let request = request.encode();
        // Twice: the first worker may have been ended by something other than these changes, and an
        // honest entry must not be refused for that.
        for _ in 0..2 {
            let running = match &mut self.running {
                Some(running) => running,
                none => none.insert(Running::start().map_err(|_| MergeRefusal::Unavailable)?),
            };
            if let Some(answer) = running.ask(&request) {
                return answer;
            }
            if let Some(mut running) = self.running.take() {
                let _ = running.child.kill();
                let _ = running.child.wait();
            }
        }
        Err(MergeRefusal::Refused("merging these changes took more memory or time than they may".to_owned()))
    }
}

impl Running {
    /// The answer; nothing if the worker died.
    fn ask(&mut self, request: &[u8]) -> Option<Result<Merged, MergeRefusal>> {
        write_frame(&mut self.to, request).ok()?;
        decode_answer(&read_frame(&mut self.from).ok()??).ok()
    }

    fn start() -> io::Result<Self> {
        // The program that this process itself was made of: its file may be another one by now, or gone.
        let mut child = Command::new("/proc/self/exe")
            .arg0(std::env::args_os().next().unwrap_or_default())
            .args(["internal", "merge"])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(to), Some(from)) => Ok(Self { child, to, from }),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(Running { mut child, to, from }) = self.running.take() {
            // It ends when its input does.
            drop((to, from));
            let _ = child.wait();
        }
    }
}

/// Runs a worker on standard input and output.
///
/// # Errors
/// The standard streams cannot be used.
pub fn run() -> Result<(), Failure> {
    super::process::keep_files_private();
    let memory = Rlimit { current: Some(MEMORY_MAX), maximum: Some(MEMORY_MAX) };
    let _ = rustix::process::setrlimit(Resource::As, memory);
    // Whoever kills the agent has to kill what it told this process, too.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    confine::enforce(&Role::Worker);
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    let broken = "the worker's streams cannot be used";
    while let Some(request) = read_frame(&mut from).map_err(Failure::io(broken))? {
        let done = give_up_after(PATIENCE);
        let answer = match MergeRequest::decode(&request) {
            Ok(request) => InProcess.merge(&request),
            Err(error) => Err(MergeRefusal::Refused(error.to_string())),
        };
        drop(done);
        write_frame(&mut to, &encode_answer(&answer)).map_err(Failure::io(broken))?;
    }
    Ok(())
}

/// Ends this process unless the returned value is dropped in time.
fn give_up_after(patience: Duration) -> mpsc::Sender<()> {
    let (done, waiting) = mpsc::channel::<()>();
    thread::spawn(move || {
        if waiting.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
            std::process::exit(1);
        }
    });
    done
}

fn write_frame(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(bytes)?;
    to.flush()
}

fn read_frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    from.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() == length { Ok(Some(bytes)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_a_cut_or_huge_one_is_an_error() {
        let mut stream = Vec::new();
        write_frame(&mut stream, b"request").unwrap();
        assert_eq!(read_frame(&mut stream.as_slice()).unwrap().as_deref(), Some(&b"request"[..]));
        assert_eq!(read_frame(&mut [].as_slice()).unwrap(), None);
        assert!(read_frame(&mut &stream[..8]).is_err());
        assert!(read_frame(&mut [0xff; 4].as_slice()).is_err());
    }
}
