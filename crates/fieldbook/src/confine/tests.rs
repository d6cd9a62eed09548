//! Breaking out, from inside: a child of this test confines itself as each process does, and tries.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use landlock::ABI;

use super::*;

const ROLE: &str = "FIELDBOOK_TEST_ROLE";
const PLACE: &str = "FIELDBOOK_TEST_PLACE";
/// The version of Landlock that the child knows.
const KNOWN: &str = "FIELDBOOK_TEST_LANDLOCK";
/// That a system without Landlock is known to be one.
const WITHOUT: &str = "FIELDBOOK_TESTS_WITHOUT_LANDLOCK";

/// The newest that is asked for, and those of Linux 5.19 and 6.10.
const VERSIONS: [ABI; 3] = [files::KNOWN, ABI::V5, ABI::V2];

/// What is tried, and how it went: none if it was done.
type Tried = BTreeMap<String, Option<i32>>;

/// A vault, files of others, and what listens here.
struct Scene {
    dir: tempfile::TempDir,
    tcp: TcpListener,
    _sockets: [UnixListener; 3],
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for folder in ["vault", "vault/work", "agents", "daemons", "home", "stick"] {
        fs::create_dir(at(folder)).unwrap();
    }
    for file in ["0.a", "0.b", "0.b-wal", "0.b-shm", "0.k", "1.k", "slots", "rules", "lock.net"] {
        fs::write(at("vault").join(file), "x").unwrap();
    }
    for file in ["home/key", "stick/before"] {
        fs::write(at(file), "x").unwrap();
    }
    let bus = UnixListener::bind(at("home/bus")).unwrap();
    let before = UnixListener::bind(at("daemons/before")).unwrap();
    let name = SocketAddr::from_abstract_name(dir.path().as_os_str().as_encoded_bytes()).unwrap();
    let nameless = UnixListener::bind_addr(&name).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    Scene { dir, tcp, _sockets: [bus, before, nameless] }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(-1)
}

/// In a process of its own, because there is no way back.
fn tried_as(role: &str, known: ABI) -> Tried {
    let scene = scene();
    let place = format!("{}\n{}", scene.tcp.local_addr().unwrap().port(), scene.dir.path().display());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "confine::tests::the_child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(PLACE, place)
        .env(KNOWN, VERSIONS.iter().position(|it| *it == known).unwrap().to_string())
        // What could be told to read more, or to have no rules at all.
        .env("SSL_CERT_DIR", "/")
        .env("SSL_CERT_FILE", "/proc/self/fd/0")
        .stdin(std::process::Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut tried = Tried::new();
    for line in text.lines().filter_map(|line| line.split_once("TRIED ").map(|(_, tried)| tried)) {
        let (name, how) = line.split_once('=').unwrap();
        tried.insert(name.to_owned(), how.parse().ok());
    }
    assert!(
        output.status.success() && tried.len() > 40,
        "{role}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    tried
}

#[test]
#[ignore = "only as a child of the tests below"]
fn the_child() {
    let place = std::env::var(PLACE).expect("started by a test of this page");
    let (port, dir) = place.split_once('\n').unwrap();
    let dir = Path::new(dir);
    let at = |name: &str| dir.join(name);
    let parent = rustix::process::getppid().unwrap();
    let (vault, depot) = (at("vault"), at("vault/0.b"));
    let (agents, daemons) = (at("agents"), at("daemons"));
    let known = VERSIONS[std::env::var(KNOWN).unwrap().parse::<usize>().unwrap()];
    let confine = |role: &Role<'_>| {
        let by = files::restrict(role, known);
        assert!(calls::restrict(role) && (by == 0 || by <= known as u8));
        println!("LANDLOCK {by}");
    };
    let carrier = |writes: Vec<PathBuf>, network, control| Role::Carrier {
        depot: &depot,
        reads: Vec::new(),
        writes,
        network,
        control,
    };
    match std::env::var(ROLE).unwrap().as_str() {
        "agent" => confine(&Role::Agent { vault: &vault, sockets: Some(&agents) }),
        "maker" => confine(&Role::Maker { vault: &at("vault"), from: Some(&at("stick")) }),
        "worker" => confine(&Role::Worker),
        "watch" => confine(&Role::Watch { vault: &vault, sockets: [&agents, &daemons] }),
        "daemon" => {
            confine(&carrier(vec![at("vault/work")], true, Some(&daemons)));
            try_("control", || UnixListener::bind(at("daemons/daemon")));
            assert!(calls::no_more_sockets());
        }
        "courier" => confine(&carrier(Vec::new(), true, None)),
        "stick" => confine(&carrier(vec![at("stick")], false, None)),
        "pairing" => confine(&Role::Pairing),
        _ => {}
    }
    try_("udp", || UdpSocket::bind("127.0.0.1:0"));
    try_("tcp-listen", || TcpListener::bind("127.0.0.1:0"));
    try_("tcp-connect", || TcpStream::connect(format!("127.0.0.1:{port}")));
    use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket, socketpair};
    try_("raw", || Ok(socket(AddressFamily::INET, SocketType::RAW, Some(rustix::net::ipproto::ICMP))?));
    try_("packet", || Ok(socket(AddressFamily::PACKET, SocketType::DGRAM, None)?));
    try_("bus", || UnixStream::connect(at("home/bus")));
    try_("pair", UnixStream::pair);
    try_("datagrams", || Ok(socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::empty(), None)?));
    try_("nameless", || {
        UnixStream::connect_addr(&SocketAddr::from_abstract_name(dir.as_os_str().as_encoded_bytes())?)
    });
    try_("routes", || Ok(socket(AddressFamily::NETLINK, SocketType::RAW, None)?));
    try_("firewall", || Ok(socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::NETFILTER))?));
    try_("agents-place", || fs::rename(at("daemons/before"), at("agents/agent")));
    try_("agents-socket", || UnixListener::bind(at("agents/another")));
    for file in ["0.a", "0.b", "0.b-wal", "0.k", "1.k", "slots"] {
        try_(&format!("read-{file}"), || File::open(vault.join(file)));
    }
    for file in ["0.a", "0.b", "0.k", "slots"] {
        try_(&format!("write-{file}"), || File::options().write(true).open(vault.join(file)));
    }
    try_("read-home", || File::open(at("home/key")));
    try_("write-home", || File::create(at("home/profile")));
    try_("read-stick", || File::open(at("stick/before")));
    try_("write-stick", || File::create(at("stick/bundle")));
    try_("write-work", || File::create(vault.join("work").join("file")));
    try_("read-etc", || File::open("/etc/passwd"));
    try_("write-etc", || {
        let file = format!("/etc/fieldbook-test-{}", std::process::id());
        File::create(&file).and_then(|_| fs::remove_file(file))
    });
    try_("list-home", || fs::read_dir(at("home")));
    try_("chmod", || fs::set_permissions(at("home/key"), fs::Permissions::from_mode(0o644)));
    try_("times", || {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
        let long_ago = Timespec { tv_sec: 1, tv_nsec: 0 };
        let times = Timestamps { last_access: long_ago, last_modification: long_ago };
        Ok(utimensat(CWD, at("home/key"), &times, AtFlags::empty())?)
    });
    try_("attribute", || {
        let flags = rustix::fs::XattrFlags::empty();
        Ok(rustix::fs::setxattr(at("home/key"), "user.fieldbook", b"x", flags)?)
    });
    try_("remove-key", || fs::remove_file(vault.join("1.k")));
    try_("remove-rules", || fs::remove_file(vault.join("rules")));
    try_("make-rules", || File::create(vault.join("rules")));
    try_("remove-home", || fs::remove_file(at("home/key")));
    try_("link", || fs::hard_link(vault.join("0.k"), vault.join(format!("key-{}", std::process::id()))));
    try_("memory", || File::open(format!("/proc/{}/mem", parent.as_raw_nonzero())));
    try_("environment", || File::open(format!("/proc/{}/environ", parent.as_raw_nonzero())));
    try_("descriptor", || {
        use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
        let parent = pidfd_open(parent, PidfdFlags::empty())?;
        Ok(pidfd_getfd(parent, 0, PidfdGetfdFlags::empty())?)
    });
    try_("signal", || Ok(rustix::process::test_kill_process(parent)?));
    try_("own-signal", || Ok(rustix::process::test_kill_process(rustix::process::getpid())?));
    try_("limits", || {
        use rustix::process::{Resource, Rlimit, prlimit};
        let most = Rlimit { current: None, maximum: None };
        Ok(prlimit(Some(parent), Resource::Cpu, most)?)
    });
    try_("shell", || Command::new("/bin/sh").arg("-c").arg("exit 0").status());
    try_("itself", || {
        Command::new("/proc/self/exe").arg("--help").stdout(std::process::Stdio::null()).status()
    });
    try_("root", || Ok(rustix::process::chroot("/")?));
    try_("thread", || {
        std::thread::Builder::new().spawn(|| vec![1_u8; 1 << 20].len()).map(std::thread::JoinHandle::join)
    });
    try_("randomness", || getrandom::fill(&mut [0; 32]).map_err(|_| io::ErrorKind::Other.into()));
}

fn try_<T>(name: &str, attempt: impl FnOnce() -> io::Result<T>) {
    let how = attempt().map_or_else(|error| errno(&error).to_string(), |_| "done".to_owned());
    println!("TRIED {name}={how}");
}

const EPERM: Option<i32> = Some(1);
const EACCES: Option<i32> = Some(13);

/// What takes privileges that only the administrator has.
const PRIVILEGED: [&str; 8] =
    ["raw", "packet", "memory", "environment", "descriptor", "root", "write-etc", "limits"];

/// That of all attempts these were done and no others, and that the system said why not. `older`: those that are possible
/// besides where Landlock is older than its version of that number.
fn only(role: &str, allowed: &[&[&str]], older: &[(u8, &str)]) {
    let allowed = allowed.concat();
    let is_root = rustix::process::geteuid().is_root();
    if !files::are_there() {
        eprintln!("THIS SYSTEM HAS NO LANDLOCK: nothing was tried, and nothing is shown of \"{role}\"");
        let known = std::env::var_os("CI").is_none() || std::env::var_os(WITHOUT).is_some();
        assert!(known, "no Landlock here; {WITHOUT}=1 says that this is known");
        return;
    }
    let free = tried_as("free", files::KNOWN);
    for (name, how) in &free {
        // Not every file system has attributes.
        let expected = (!is_root && PRIVILEGED.contains(&name.as_str())) || *how == Some(libc::EOPNOTSUPP);
        assert!(how.is_none() || expected, "{name} is possible without confinement: {free:?}");
    }
    for known in VERSIONS {
        let tried = tried_as(role, known);
        for (name, how) in &tried {
            let besides = older.iter().any(|(since, it)| it == name && (known as u8) < *since);
            if allowed.contains(&name.as_str()) || besides {
                assert_eq!(*how, None, "{role}, {known:?}: {name}: {tried:?}");
            } else if free.get(name).is_none_or(Option::is_none) {
                // A hard link between what may be written and what may not is EXDEV to Landlock.
                assert!([EPERM, EACCES, Some(18)].contains(how), "{role}, {known:?}: {name}: {tried:?}");
            }
        }
        allowed.iter().for_each(|name| assert!(tried.contains_key(*name), "{name}"));
    }
}

/// What whoever has the vault's directory can do there.
const VAULT: [&str; 15] = [
    "read-0.a",
    "read-0.b",
    "read-0.b-wal",
    "read-0.k",
    "read-1.k",
    "read-slots",
    "write-0.a",
    "write-0.b",
    "write-0.k",
    "write-slots",
    "write-work",
    "link",
    "remove-key",
    "remove-rules",
    "make-rules",
];

/// What any process does that is no worker.
const ANY: [&str; 4] = ["pair", "thread", "randomness", "own-signal"];
/// What whoever has a depot has of the vault: it can remove what lies there, which a backup is against.
const DEPOT: [&str; 5] = ["read-0.b", "read-0.b-wal", "write-0.b", "remove-key", "remove-rules"];
const NETWORK: [&str; 4] = ["udp", "tcp-listen", "tcp-connect", "routes"];

#[test]
fn a_worker_has_its_pipes_and_its_memory() {
    only("worker", &[&["thread", "randomness"]], &[]);
}

#[test]
fn an_agent_has_no_network_no_program_of_others_and_no_place_in_the_system() {
    // What people attach, and where they put backups, it cannot know before.
    let people = [
        "read-home",
        "write-home",
        "list-home",
        "remove-home",
        "read-stick",
        "write-stick",
        "read-etc",
        "agents-place",
    ];
    // Signals: between what is confined and what is not, by Landlock 6.
    only("agent", &[&VAULT, &people, &ANY, &["itself", "limits"]], &[(6, "signal")]);
}

#[test]
fn what_makes_a_vault_has_its_place_and_the_backup() {
    // What the vault lies in is listed, to be synced.
    only("maker", &[&VAULT, &ANY, &["read-stick", "list-home"]], &[]);
}

#[test]
fn what_speaks_to_others_has_the_depot_and_no_file_of_the_vault() {
    only("courier", &[&DEPOT, &NETWORK, &ANY, &["read-etc"]], &[]);
    only("daemon", &[&DEPOT, &NETWORK, &ANY, &["read-etc", "control", "write-work"]], &[]);
    only("pairing", &[&NETWORK, &ANY, &["read-etc"]], &[]);
    only("stick", &[&DEPOT, &ANY, &["read-stick", "write-stick"]], &[]);
}

#[test]
fn what_destroys_the_keys_has_the_vault_and_local_sockets() {
    let local = ["bus", "signal", "limits", "agents-socket"];
    only("watch", &[&VAULT, &local, &ANY], &[(6, "nameless")]);
}

#[test]
fn what_landlock_does_not_look_at_is_refused_by_its_number() {
    let forbidden = |role: &Role<'_>| calls::forbidden(role).unwrap();
    for role in [
        Role::Pairing,
        Role::carrier(Path::new("/depot"), true),
        Role::Agent { vault: Path::new("/"), sockets: None },
    ] {
        // truncate; setxattrat, removexattrat, file_setattr, which are newer than most systems.
        for call in [libc::SYS_truncate, 463, 466, 469] {
            assert!(forbidden(&role).get(&call).is_some_and(Vec::is_empty), "{role:?}: {call}");
        }
    }
    assert!(forbidden(&Role::Pairing).get(&libc::SYS_tgkill).is_some_and(|rules| !rules.is_empty()));
}
