//! The bucket as this crate uses it: whole objects, read and written by calls that wait, tried again while the
//! bucket does not answer.
//!
//! The callers are threads that talk to a depot and may block; the client of the bucket is asynchronous. It
//! runs on threads of its own, so that a caller may also be a task of another runtime.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fieldbook_depot::DepotError;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectMeta, ObjectStore, PutMode, PutPayload};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::seal::random;

/// Requests of one process at a time.
pub(crate) const AT_ONCE: usize = 16;
/// How long one request may take.
const ONE_REQUEST: Duration = Duration::from_secs(30);
/// How long the bucket is tried until a caller is told that it is away, in milliseconds.
///
/// Less than the other side of a session waits for a hello.
const PATIENCE_MS: u64 = 5_000;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What became of a put that only creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    /// The object is there now, and was not before.
    New,
    /// There was an object of this name: perhaps the very one, from a try whose answer was lost.
    There,
}

/// A bucket, or a part of one.
#[derive(Clone)]
pub(crate) struct Objects {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    runtime: Option<Runtime>,
    at_once: Semaphore,
    /// The last request found nobody: until one succeeds, each caller tries once.
    away: AtomicBool,
    patience_ms: AtomicU64,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Waits for nobody: this may be a task of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Objects {
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self, DepotError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("bucket")
            .enable_all()
            .build()
            .map_err(DepotError::Io)?;
        let prefix = Path::parse(prefix)
            .map_err(|_| DepotError::Damaged("the prefix in the bucket is not a path".to_owned()))?;
        let shared = Shared {
            store,
            prefix,
            runtime: Some(runtime),
            at_once: Semaphore::new(AT_ONCE),
            away: AtomicBool::new(false),
            patience_ms: AtomicU64::new(PATIENCE_MS),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub fn set_patience(&self, patience: Duration) {
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.shared.patience_ms.store(patience, Relaxed);
    }

    fn path(&self, name: &str) -> Path {
        let mut path = self.shared.prefix.clone();
        for part in name.split('/') {
            path = path.join(part);
        }
        path
    }

    /// The object's bytes; `None` if there is none. One of more than `limit` bytes is not read.
    pub fn get(&self, name: &str, limit: usize) -> Result<Option<Bytes>, DepotError> {
        let path = self.path(name);
        self.insist(move |store| {
            let path = path.clone();
            async move {
                let found = match store.get_opts(&path, GetOptions::default()).await {
                    Err(Error::NotFound { .. }) => return Ok(None),
                    found => found?,
                };
                if found.meta.size > limit as u64 {
                    // No object of ours: whoever looks at it finds that it does not open.
                    return Ok(Some(Bytes::new()));
                }
                Ok(Some(found.bytes().await?))
            }
        })
    }

    /// Several objects at once, in the order of their names.
    pub fn get_all(&self, names: &[String], limit: usize) -> Result<Vec<Option<Bytes>>, DepotError> {
        self.each(names, |objects, name| objects.get(name, limit))
    }

    /// Writes an object, whatever was there.
    pub fn put(&self, name: &str, bytes: Bytes) -> Result<(), DepotError> {
        self.write(name, &bytes, PutMode::Overwrite).map(drop)
    }

    /// Writes an object where there is none.
    pub fn create(&self, name: &str, bytes: Bytes) -> Result<Created, DepotError> {
        self.write(name, &bytes, PutMode::Create)
    }

    fn write(&self, name: &str, bytes: &Bytes, mode: PutMode) -> Result<Created, DepotError> {
        let (path, bytes) = (self.path(name), bytes.clone());
        self.insist(move |store| {
            let (path, payload, mode) = (path.clone(), PutPayload::from(bytes.clone()), mode.clone());
            async move {
                match store.put_opts(&path, payload, mode.into()).await {
                    Ok(_) => Ok(Created::New),
                    Err(Error::AlreadyExists { .. }) => Ok(Created::There),
                    Err(error) => Err(error),
                }
            }
        })
    }

    /// Removes an object, if there is one.
    pub fn delete(&self, name: &str) -> Result<(), DepotError> {
        let path = self.path(name);
        self.insist(move |store| {
            let path = path.clone();
            async move {
                let paths: BoxStream<'static, object_store::Result<Path>> =
                    futures_util::stream::iter([Ok(path)]).boxed();
                let mut done = store.delete_stream(paths);
                while let Some(deleted) = done.next().await {
                    match deleted {
                        Ok(_) | Err(Error::NotFound { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
        })
    }

    /// Calls `each` with the name of every object under `folder`, page by page as the bucket gives them.
    pub fn list(&self, folder: &str, mut each: impl FnMut(&str)) -> Result<(), DepotError> {
        let (folder, prefix) = (self.path(folder), self.shared.prefix.clone());
        let (tell, hear) = mpsc::sync_channel::<object_store::Result<ObjectMeta>>(1_000);
        let store = self.shared.store.clone();
        self.spawn(async move {
            let mut objects = store.list(Some(&folder));
            while let Some(object) = objects.next().await {
                // Nobody reads at the other end: no more is asked for.
                if tell.send(object).is_err() {
                    return;
                }
            }
        });
        for object in hear {
            let path = object.map_err(|error| DepotError::Away(trouble(&error).to_owned()))?.location;
            let name: Vec<String> = path
                .prefix_match(&prefix)
                .into_iter()
                .flatten()
                .map(|part| part.as_ref().to_owned())
                .collect();
            each(&name.join("/"));
        }
        Ok(())
    }

    /// Does something for each of many, at most [`AT_ONCE`] at a time; the results in their order. The first
    /// failure is the answer for all.
    pub fn each<T: Sync, R: Send>(
        &self,
        items: &[T],
        act: impl Fn(&Self, &T) -> Result<R, DepotError> + Sync,
    ) -> Result<Vec<R>, DepotError> {
        if let [only] = items {
            return Ok(vec![act(self, only)?]);
        }
        let share = items.len().div_ceil(AT_ONCE).max(1);
        thread::scope(|scope| {
            let running: Vec<_> = items
                .chunks(share)
                .map(|items| {
                    scope.spawn(|| items.iter().map(|item| act(self, item)).collect::<Result<Vec<R>, _>>())
                })
                .collect();
            let mut results = Vec::with_capacity(items.len());
            for done in running {
                let ended = || DepotError::Io(std::io::ErrorKind::Interrupted.into());
                results.extend(done.join().map_err(|_| ended())??);
            }
            Ok(results)
        })
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.shared.runtime {
            runtime.spawn(task);
        }
    }

    /// Tries until it succeeds, until trying is of no use, or until patience ends.
    fn insist<T: Send + 'static, F>(
        &self,
        request: impl Fn(Arc<dyn ObjectStore>) -> F + Send + Sync,
    ) -> Result<T, DepotError>
    where
        F: Future<Output = object_store::Result<T>> + Send + 'static,
    {
        let until = Instant::now() + Duration::from_millis(self.shared.patience_ms.load(Relaxed));
        let mut pause = FIRST_PAUSE;
        loop {
            match self.once(request(self.shared.store.clone())) {
                Ok(done) => {
                    self.shared.away.store(false, Relaxed);
                    return Ok(done);
                }
                Err(why) => {
                    let known_away = self.shared.away.load(Relaxed);
                    if why.final_word || known_away || Instant::now() + pause > until {
                        self.shared.away.store(!why.final_word, Relaxed);
                        return Err(DepotError::Away(why.words.to_owned()));
                    }
                }
            }
            // Not all processes at the same moment.
            let [dice] = random::<1>()?;
            thread::sleep(pause.mul_f64(0.5 + f64::from(dice) / 256.0));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn once<T: Send + 'static>(
        &self,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, Trouble> {
        let (tell, hear) = mpsc::sync_channel(1);
        let shared = self.shared.clone();
        self.spawn(async move {
            let permit = shared.at_once.acquire().await;
            let done = match timeout(ONE_REQUEST, request).await {
                Ok(done) => done.map_err(|error| Trouble::of(&error)),
                Err(_) => Err(Trouble { words: "it does not answer in time", final_word: false }),
            };
            drop(permit);
            let _ = tell.send(done);
        });
        hear.recv().unwrap_or(Err(Trouble { words: "the client of the bucket has ended", final_word: true }))
    }
}

/// Why a request failed: never with an address or a name of the provider in it.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    words: &'static str,
    /// Trying again changes nothing.
    final_word: bool,
}

impl Trouble {
    fn of(error: &Error) -> Self {
        let final_word = matches!(
            error,
            Error::PermissionDenied { .. }
                | Error::Unauthenticated { .. }
                | Error::NotFound { .. }
                | Error::NotImplemented { .. }
                | Error::NotSupported { .. }
                | Error::InvalidPath { .. }
        );
        Self { words: trouble(error), final_word }
    }
}

fn trouble(error: &Error) -> &'static str {
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            "the bucket refuses these credentials"
        }
        Error::NotFound { .. } => "there is no bucket of this name",
        Error::NotImplemented { .. } | Error::NotSupported { .. } => {
            "the bucket's server cannot do what is needed"
        }
        _ => "the bucket does not answer as it should",
    }
}
