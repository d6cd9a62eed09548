//! Against a real S3 server on loopback: processes that are killed, a server that is killed and started again,
//! folders longer than a page, and what the server refuses.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fieldbook_bucket::{BucketConfig, BucketDepot, Credentials, ObjectStore};
use fieldbook_depot::{Depot, DepotError, Lookup};
use fieldbook_tests::{BucketServer, wait_for};

mod bucket;
use bucket::{KEY, client, create, entry, id, named, open, order, put, try_put};

/// What the process of another test is told: where the server is, and its first entry.
const TOLD: &str = "BUCKET_WRITER";
/// Entries that one writer has for itself.
const SHARE: u32 = 100_000;

#[test]
#[ignore = "a process that other tests start and kill"]
fn a_process_that_writes_until_it_is_killed() {
    let Ok(told) = std::env::var(TOLD) else { return };
    let (endpoint, first) = told.split_once(' ').unwrap();
    let [region, bucket, prefix] = ["auto", "relay", ""].map(str::to_owned);
    let config = BucketConfig { endpoint: endpoint.to_owned(), region, bucket, prefix };
    let credentials = "aws_access_key_id = AKTESTS\naws_secret_access_key = secret-of-the-tests";
    let store = config.client(&Credentials::parse(credentials).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let depot = loop {
        match BucketDepot::open(store.clone(), "", &KEY(), dir.path()) {
            Err(DepotError::Away(_)) => {}
            opened => break opened.unwrap().with_patience(Duration::from_millis(200)),
        }
    };
    let mut next: u32 = first.parse().unwrap();
    loop {
        match try_put(&depot, next..next + 5) {
            // Not `println!`: each line is out before the next put.
            Ok(_) => {
                let mut out = std::io::stdout().lock();
                writeln!(out, "\nacknowledged {next}").unwrap();
                out.flush().unwrap();
                next += 5;
            }
            Err(DepotError::Away(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// One that writes, and what it has acknowledged.
struct Writer {
    process: Child,
    heard: Option<thread::JoinHandle<Vec<u32>>>,
}

impl Writer {
    fn start(server: &BucketServer, first: u32) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "--nocapture", "a_process_that_writes_until_it_is_killed"]);
        command.env(TOLD, format!("{} {first}", server.endpoint()));
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let output = process.stdout.take().unwrap();
        let heard = thread::spawn(move || {
            let lines = std::io::BufRead::lines(std::io::BufReader::new(output)).map_while(Result::ok);
            lines.filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok()).collect()
        });
        Self { process, heard: Some(heard) }
    }

    /// `kill -9`; what it acknowledged before.
    fn kill(mut self) -> Vec<u32> {
        self.end();
        self.heard.take().unwrap().join().unwrap()
    }

    fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn what_was_acknowledged_is_there_whatever_was_killed_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = BucketServer::start();
    let store = client(&server);
    create(&store, dir.path());
    let depot = open(&store, dir.path());
    let mut writers: Vec<Writer> = (0..3).map(|n| Writer::start(&server, n * SHARE)).collect();
    let mut acknowledged = Vec::new();
    let mut seen = 0;
    for round in 3..9 {
        // Under load: more has come since the last blow.
        seen = wait_for("entries", || depot.head().ok().filter(|head| *head > seen + 20));
        if round % 2 == 0 {
            server.restart(&[]);
        }
        acknowledged.extend(writers.remove(0).kill());
        writers.push(Writer::start(&server, round * SHARE));
    }
    let last = wait_for("entries", || depot.head().ok().filter(|head| *head > seen + 20));
    for writer in writers {
        acknowledged.extend(writer.kill());
    }
    server.restart(&[]);
    let there = order(&depot);
    assert!(there.len() as u64 >= last);
    assert_eq!(
        there.iter().map(|one| one.0).collect::<Vec<_>>(),
        (1..=there.len() as u64).collect::<Vec<_>>()
    );
    let held: BTreeSet<_> = there.iter().filter(|one| one.2).map(|one| one.1).collect();
    assert_eq!(held.len(), there.len(), "each once, and each with its bytes");
    assert!(acknowledged.len() >= 12, "{} were acknowledged", acknowledged.len());
    for first in acknowledged {
        for number in first..first + 5 {
            assert!(held.contains(&id(number)), "an entry was acknowledged and is not there");
        }
    }
    // Whoever begins now comes to the same, from the log and from a checkpoint.
    for _ in 0..2 {
        let other = open(&store, dir.path());
        assert_eq!(order(&other), there);
        assert_eq!(other.fingerprint().unwrap(), depot.fingerprint().unwrap());
        depot.checkpoint().unwrap();
    }
    depot.sweep().unwrap();
    assert_eq!(server.names("e").len(), there.len(), "what was cut short is removed");
    assert_eq!(order(&depot), there);
}

#[test]
fn folders_longer_than_a_page_are_swept_whole() {
    let dir = tempfile::tempdir().unwrap();
    let server = BucketServer::start();
    let store = client(&server);
    let depot = create(&store, dir.path());
    put(&depot, 0..1_100);
    std::fs::create_dir_all(server.objects().join("e/ab")).unwrap();
    for number in 0..1_150_u128 {
        let name = format!("e/ab/ab{:030x}", number * 7919);
        std::fs::write(server.objects().join(name), entry(1)).unwrap();
    }
    let kept = server.names("e").len() - 1_150;
    assert_eq!(kept, 1_100);
    assert_eq!(depot.sweep().unwrap(), 1_150);
    assert_eq!(server.names("e").len(), 1_100);
    assert!(order(&depot).iter().all(|one| one.2));
}

#[test]
fn what_the_server_refuses_is_said_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = BucketServer::start();
    let begin = |store: Arc<dyn ObjectStore>| {
        let made =
            BucketDepot::create(store, "", &KEY(), dir.path(), fieldbook_proto::DepotId::from_bytes([1; 16]));
        made.unwrap_err().to_string()
    };
    let wrong = "aws_access_key_id = AKTESTS\naws_secret_access_key = another";
    let refused = begin(named(&server, "relay", wrong).unwrap());
    assert!(refused.contains("refuses these credentials"), "{refused}");
    let absent = begin(named(&server, "elsewhere", server.credentials()).unwrap());
    assert!(absent.contains("no bucket of this name"), "{absent}");
    server.restart(&["--disobey"]);
    let disobeys = begin(client(&server));
    assert!(disobeys.contains("If-None-Match"), "{disobeys}");
    for said in [refused, absent, disobeys] {
        assert!(!said.contains("127.0.0.1") && !said.contains("AKTESTS"), "{said}");
    }
}

#[test]
fn the_provider_sees_sizes_and_no_id_name_or_key() {
    let dir = tempfile::tempdir().unwrap();
    let server = BucketServer::start();
    let store = client(&server);
    let depot = create(&store, dir.path());
    put(&depot, 0..5);
    depot.set_setting("certificate", Some(b"a word that nobody may read")).unwrap();
    depot.forget(&[id(0)]).unwrap();
    depot.checkpoint().unwrap();
    assert_eq!(depot.get(&id(1)).unwrap(), Lookup::Held(entry(1)));
    let names = server.names("");
    assert!(names.len() >= 9, "{names:?}");
    for name in &names {
        let bytes = std::fs::read(server.objects().join(name)).unwrap();
        for number in 0..5 {
            let id = id(number);
            assert!(!name.contains(&id.short()), "{name}");
            assert!(!bytes.windows(32).any(|window| window == id.as_bytes()), "an id in {name}");
        }
        for word in [&b"certificate"[..], b"nobody", b"SQLite"] {
            assert!(!bytes.windows(word.len()).any(|window| window == word), "a word in {name}");
        }
    }
}
