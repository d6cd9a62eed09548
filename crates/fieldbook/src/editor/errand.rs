//! What is asked of whoever has the vault open, in a thread of its own: the key that locks is heard whatever that one is
//! doing, and for however long.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::rest::Rest;
use super::work::{Saved, Standing, Work};
use crate::agent::client::Agent;
use crate::error::Failure;

/// What is to be done.
pub enum Errand {
    Keep(Zeroizing<String>),
    Save(Zeroizing<String>),
    ThrowAway,
    /// Another text was saved when the writing began.
    GoOnFrom(Zeroizing<String>, Vec<String>),
    /// The vault is locked: nothing of the text is to be here.
    Forget,
    /// The vault was opened once more: what it lacks is kept.
    KeepRest(Agent, Rest),
}

/// What came of it.
pub enum Done {
    Kept(Zeroizing<String>),
    NotKept(Failure),
    Saved(Saved),
    NotSaved(Failure),
    ThrownAway(Result<(), Failure>),
    RestKept(Result<(), Failure>),
    Nothing,
}

/// The thread, from outside.
pub struct Errands {
    to: Sender<Errand>,
    back: Receiver<(Done, Standing)>,
    /// Something came back.
    bell: UnixStream,
    /// Hangs up when the agent ends.
    end: OwnedFd,
    standing: Standing,
    under_way: usize,
}

impl Errands {
    /// From now on they are done one after the other.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn on(mut work: Work) -> Result<Self, Failure> {
        let doing = "the agent cannot be watched";
        let (bell, ring) = UnixStream::pair().map_err(Failure::io(doing))?;
        for side in [&bell, &ring] {
            side.set_nonblocking(true).map_err(Failure::io(doing))?;
        }
        let end = work.agent().end().try_clone_to_owned().map_err(Failure::io(doing))?;
        let standing = work.standing();
        let (to, errands) = mpsc::channel();
        let (tell, back) = mpsc::channel();
        thread::spawn(move || {
            for errand in errands {
                let done = run(&mut work, errand);
                if tell.send((done, work.standing())).is_err() {
                    break;
                }
                // A bell that is full has been rung.
                let _ = (&ring).write(&[1]);
            }
            // With it ends an agent that was started for this alone. Only then is this heard to have ended.
            drop(work);
            drop(tell);
        });
        Ok(Self { to, back, bell, end, standing, under_way: 0 })
    }

    /// Has something done.
    pub fn send(&mut self, errand: Errand) {
        // The thread lives as long as this.
        if self.to.send(errand).is_ok() {
            self.under_way += 1;
        }
    }

    /// Goes on with a text that was kept another time.
    pub fn go_on_from(&mut self, base: Zeroizing<String>, tried: Vec<String>) {
        self.standing.base.clone_from(&base);
        self.send(Errand::GoOnFrom(base, tried));
    }

    /// What came back, if something did.
    pub fn came_back(&mut self) -> Option<Done> {
        let mut rung = [0; 64];
        while matches!((&self.bell).read(&mut rung), Ok(1..)) {}
        let back = self.back.try_recv().ok()?;
        Some(self.take(back))
    }

    /// What comes back until then.
    pub fn wait(&mut self, until: Instant) -> Option<Done> {
        let back = self.back.recv_timeout(until.saturating_duration_since(Instant::now())).ok()?;
        Some(self.take(back))
    }

    fn take(&mut self, (done, standing): (Done, Standing)) -> Done {
        self.under_way = self.under_way.saturating_sub(1);
        self.standing = standing;
        done
    }

    /// Whether something has not come back yet.
    pub const fn is_under_way(&self) -> bool {
        self.under_way > 0
    }

    /// What is known of the text.
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Something that hangs up when the vault is locked.
    pub fn end(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// Something that can be read when an errand came back.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Lets go of the vault, which is waited for at most so long.
    pub fn finish(self, patience: Duration) {
        let Self { to, back, .. } = self;
        drop(to);
        let until = Instant::now() + patience;
        while !matches!(
            back.recv_timeout(until.saturating_duration_since(Instant::now())),
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout)
        ) {}
    }
}

fn run(work: &mut Work, errand: Errand) -> Done {
    match errand {
        Errand::Keep(text) => match work.keep(&text) {
            Ok(()) => Done::Kept(text),
            Err(failure) => Done::NotKept(failure),
        },
        Errand::Save(text) => match work.save(&text) {
            Ok(saved) => Done::Saved(saved),
            Err(failure) => Done::NotSaved(failure),
        },
        Errand::ThrowAway => Done::ThrownAway(work.throw_away()),
        Errand::GoOnFrom(base, tried) => {
            work.go_on_from(base, tried);
            Done::Nothing
        }
        Errand::Forget => {
            work.forget();
            Done::Nothing
        }
        Errand::KeepRest(agent, rest) => Done::RestKept(work.keep_rest(agent, &rest)),
    }
}
