//! A bucket in memory that does what buckets do on bad days.
#![allow(dead_code, non_snake_case, reason = "each test file uses its part")]

use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use fieldbook_bucket::{BucketDepot, ObjectStore};
use fieldbook_depot::{Depot, DepotKey, Incoming, Source};
use fieldbook_proto::{DepotId, EntryId};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

pub fn KEY() -> DepotKey {
    DepotKey::new([9; 32])
}

pub fn create(store: &Arc<dyn ObjectStore>, folder: &FilePath) -> BucketDepot {
    BucketDepot::create(store.clone(), "", &KEY(), folder, DepotId::from_bytes([3; 16])).unwrap()
}

pub fn open(store: &Arc<dyn ObjectStore>, folder: &FilePath) -> BucketDepot {
    BucketDepot::open(store.clone(), "", &KEY(), folder).unwrap().with_patience(Duration::from_millis(300))
}

/// A client of a real server.
pub fn client(server: &fieldbook_tests::BucketServer) -> Arc<dyn ObjectStore> {
    named(server, "relay", server.credentials()).unwrap()
}

pub fn named(
    server: &fieldbook_tests::BucketServer,
    bucket: &str,
    credentials: &str,
) -> std::result::Result<Arc<dyn ObjectStore>, fieldbook_bucket::ConfigError> {
    let [region, bucket, prefix] = ["auto", bucket, ""].map(str::to_owned);
    let config = fieldbook_bucket::BucketConfig { endpoint: server.endpoint(), region, bucket, prefix };
    config.client(&fieldbook_bucket::Credentials::parse(credentials)?)
}

/// An entry like any other.
pub fn entry(number: u32) -> Vec<u8> {
    let mut bytes = vec![0; 1_100];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes
}

pub fn id(number: u32) -> EntryId {
    EntryId::of(&entry(number))
}

/// Puts entries in one batch: how many were new.
pub fn put(depot: &dyn Depot, numbers: impl IntoIterator<Item = u32>) -> usize {
    try_put(depot, numbers).unwrap()
}

pub fn try_put(
    depot: &dyn Depot,
    numbers: impl IntoIterator<Item = u32>,
) -> std::result::Result<usize, fieldbook_depot::DepotError> {
    let bytes: Vec<Vec<u8>> = numbers.into_iter().map(entry).collect();
    let batch: Vec<_> =
        bytes.iter().map(|bytes| Incoming { id: EntryId::of(bytes), bytes, from: Source::Bundle }).collect();
    Ok(depot.put(&batch)?.added)
}

/// All ids in the order of arrival, with whether their bytes come.
pub fn order(depot: &dyn Depot) -> Vec<(u64, EntryId, bool)> {
    depot.head().unwrap();
    let all = depot.arrivals_with_bytes(0, 100_000, u64::MAX >> 1).unwrap();
    all.into_iter()
        .map(|(arrival, bytes)| {
            let good = bytes.is_some_and(|bytes| EntryId::of(&bytes) == arrival.id);
            (arrival.position, arrival.id, good)
        })
        .collect()
}

/// The bucket.
#[derive(Debug, Default)]
pub struct BadDays {
    pub inner: InMemory,
    /// It does not answer.
    pub away: AtomicBool,
    /// Of so many puts one is done and its answer lost; 0: none.
    pub loses_answers: AtomicU32,
    /// It overwrites where it should only create.
    pub disobeys: AtomicBool,
    puts: AtomicU32,
    /// Objects that were asked for and read.
    pub gets: AtomicUsize,
}

impl fmt::Display for BadDays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a bucket on a bad day")
    }
}

fn broken() -> Error {
    Error::Generic { store: "test", source: "the connection broke at http://secret.example/bucket".into() }
}

impl BadDays {
    fn answer(&self) -> Result<()> {
        if self.away.load(SeqCst) { Err(broken()) } else { Ok(()) }
    }

    /// The names of all objects.
    pub fn names(&self) -> Vec<String> {
        let names = self.inner.list(None).map(|object| object.unwrap().location.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(names.collect())
    }

    /// The names of those that hold entries.
    pub fn entries(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| name.starts_with("e/")).collect()
    }

    /// What stands under a name.
    pub fn read(&self, name: &str) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime
            .block_on(async {
                let found = self.inner.get_opts(&Path::from(name), GetOptions::default()).await.unwrap();
                found.bytes().await.unwrap()
            })
            .into()
    }

    /// Lays something under a name, as the provider could.
    pub fn lay(&self, name: &str, bytes: Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let name = Path::from(name);
        runtime.block_on(self.inner.put_opts(&name, bytes.into(), PutOptions::default())).unwrap();
    }

    /// Takes something away, as the provider could.
    pub fn take(&self, name: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let name = Path::from(name);
        let gone = self.inner.delete_stream(futures_util::stream::iter([Ok(name)]).boxed());
        runtime.block_on(gone.collect::<Vec<_>>());
    }
}

#[async_trait::async_trait]
impl ObjectStore for BadDays {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut opts: PutOptions,
    ) -> Result<PutResult> {
        self.answer()?;
        if self.disobeys.load(SeqCst) {
            opts.mode = PutMode::Overwrite;
        }
        // Whoever shares a real bucket meets others between any two steps.
        tokio::task::yield_now().await;
        let done = self.inner.put_opts(location, payload, opts).await?;
        let every = self.loses_answers.load(SeqCst);
        if every > 0 && self.puts.fetch_add(1, SeqCst).is_multiple_of(every) {
            return Err(broken());
        }
        Ok(done)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.answer()?;
        let found = self.inner.get_opts(location, options).await?;
        self.gets.fetch_add(1, SeqCst);
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
