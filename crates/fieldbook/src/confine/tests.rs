//! Breaking out, from inside: a child of this test confines itself as each process does, and tries.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use super::*;

const ROLE: &str = "FIELDBOOK_TEST_ROLE";
const PLACE: &str = "FIELDBOOK_TEST_PLACE";

/// What is tried, and how it went: none if it was done.
type Tried = BTreeMap<String, Option<i32>>;

/// A vault, files of others, and what listens here.
struct Scene {
    dir: tempfile::TempDir,
    tcp: TcpListener,
    _socket: UnixListener,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for folder in ["vault", "vault/work", "run", "home", "stick"] {
        fs::create_dir(at(folder)).unwrap();
    }
    for file in ["0.a", "0.b", "0.b-wal", "0.b-shm", "0.k", "1.k", "slots", "rules", "lock.net"] {
        fs::write(at("vault").join(file), "x").unwrap();
    }
    fs::write(at("home/key"), "x").unwrap();
    let socket = UnixListener::bind(at("home/bus")).unwrap();
    Scene { dir, tcp: TcpListener::bind("127.0.0.1:0").unwrap(), _socket: socket }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(-1)
}

/// In a process of its own, because there is no way back.
fn tried_as(role: &str, scene: &Scene) -> Tried {
    let place = format!("{}\n{}", scene.tcp.local_addr().unwrap().port(), scene.dir.path().display());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "confine::tests::the_child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(PLACE, place)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut tried = Tried::new();
    for line in text.lines().filter_map(|line| line.split_once("TRIED ").map(|(_, tried)| tried)) {
        let (name, how) = line.split_once('=').unwrap();
        tried.insert(name.to_owned(), how.parse().ok());
    }
    assert!(
        output.status.success() && tried.len() > 30,
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
    let (vault, sockets, depot) = (at("vault"), at("run"), at("vault/0.b"));
    match std::env::var(ROLE).unwrap().as_str() {
        "agent" => enforce(&Role::Agent { vault: &vault, sockets: Some(&sockets) }),
        "worker" => enforce(&Role::Worker),
        "watch" => enforce(&Role::Watch { vault: &vault, sockets: [&sockets, &sockets] }),
        "daemon" => {
            let (reads, writes) = (Vec::new(), vec![at("vault/work")]);
            enforce(&Role::Carrier { depot: &depot, reads, writes, network: true, control: Some(&sockets) });
            try_("control", || UnixListener::bind(at("run/daemon")));
            no_more_sockets();
        }
        "courier" => enforce(&Role::carrier(&depot, true)),
        "stick" => {
            let writes = vec![at("stick")];
            enforce(&Role::Carrier {
                depot: &depot,
                reads: Vec::new(),
                writes,
                network: false,
                control: None,
            });
        }
        "pairing" => enforce(&Role::Pairing),
        _ => {}
    }
    try_("udp", || UdpSocket::bind("127.0.0.1:0"));
    try_("tcp-listen", || TcpListener::bind("127.0.0.1:0"));
    try_("tcp-connect", || TcpStream::connect(format!("127.0.0.1:{port}")));
    use rustix::net::{AddressFamily, SocketType, socket};
    try_("raw", || Ok(socket(AddressFamily::INET, SocketType::RAW, Some(rustix::net::ipproto::ICMP))?));
    try_("packet", || Ok(socket(AddressFamily::PACKET, SocketType::DGRAM, None)?));
    try_("bus", || UnixStream::connect(at("home/bus")));
    try_("pair", UnixStream::pair);
    for file in ["0.a", "0.b", "0.b-wal", "0.k", "1.k", "slots"] {
        try_(&format!("read-{file}"), || File::open(vault.join(file)));
    }
    for file in ["0.a", "0.b", "0.k", "slots"] {
        try_(&format!("write-{file}"), || File::options().write(true).open(vault.join(file)));
    }
    try_("read-home", || File::open(at("home/key")));
    try_("write-home", || File::create(at("home/profile")));
    try_("write-stick", || File::create(at("stick/bundle")));
    try_("write-work", || File::create(vault.join("work").join("file")));
    try_("read-etc", || File::open("/etc/passwd"));
    try_("write-etc", || {
        let file = format!("/etc/fieldbook-test-{}", std::process::id());
        File::create(&file).and_then(|_| fs::remove_file(file))
    });
    try_("list-home", || fs::read_dir(at("home")));
    try_("chmod", || fs::set_permissions(at("home/key"), fs::Permissions::from_mode(0o644)));
    try_("link", || fs::hard_link(vault.join("0.k"), vault.join(format!("key-{}", std::process::id()))));
    try_("memory", || File::open(format!("/proc/{}/mem", parent.as_raw_nonzero())));
    try_("environment", || File::open(format!("/proc/{}/environ", parent.as_raw_nonzero())));
    try_("descriptor", || {
        use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
        let parent = pidfd_open(parent, PidfdFlags::empty())?;
        Ok(pidfd_getfd(parent, 0, PidfdGetfdFlags::empty())?)
    });
    try_("signal", || Ok(rustix::process::test_kill_process(parent)?));
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

/// That of all attempts these were done and no others, and that the system said why not.
fn only(role: &str, scene: &Scene, allowed: &[&str]) {
    let free = tried_as("free", scene);
    let tried = tried_as(role, scene);
    for (name, how) in &tried {
        assert!(
            free.get(name).is_none_or(|how| how.is_none()),
            "{name} is possible without confinement: {free:?}"
        );
        if allowed.contains(&name.as_str()) {
            assert_eq!(*how, None, "{role}: {name}: {tried:?}");
        } else {
            // A hard link between what may be written and what may not is EXDEV to Landlock.
            assert!([EPERM, EACCES, Some(18)].contains(how), "{role}: {name}: {tried:?}");
        }
    }
    allowed.iter().for_each(|name| assert!(tried.contains_key(*name), "{name}"));
}

/// What whoever has the vault's directory can do there.
const VAULT: [&str; 12] = [
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
];

/// The attempts take privileges (raw packets, another process's memory), so that their failure means something.
fn skip() -> bool {
    !rustix::process::geteuid().is_root() || !files::are_there()
}

#[test]
fn a_worker_has_its_pipes_and_its_memory() {
    if !skip() {
        only("worker", &scene(), &["thread", "randomness"]);
    }
}

#[test]
fn an_agent_has_no_network_no_program_and_no_place_in_the_system() {
    // What people attach, and where they put backups, it cannot know before.
    let people = ["read-home", "write-home", "list-home", "write-stick", "read-etc"];
    if !skip() {
        let more = ["pair", "itself", "thread", "randomness"];
        only("agent", &scene(), &[&VAULT[..], &people, &more].concat());
    }
}

#[test]
fn what_speaks_to_others_has_the_depot_and_no_file_of_the_vault() {
    let depot = ["read-0.b", "read-0.b-wal", "write-0.b"];
    let network = ["udp", "tcp-listen", "tcp-connect"];
    let more = ["read-etc", "pair", "thread", "randomness"];
    if !skip() {
        only("courier", &scene(), &[&depot[..], &network, &more].concat());
        only("daemon", &scene(), &[&depot[..], &network, &more, &["control", "write-work"]].concat());
        only("pairing", &scene(), &[&network[..], &more].concat());
        only("stick", &scene(), &[&depot[..], &["write-stick", "pair", "thread", "randomness"]].concat());
    }
}

#[test]
fn what_destroys_the_keys_has_the_vault_and_local_sockets() {
    if !skip() {
        only("watch", &scene(), &[&VAULT[..], &["bus", "pair", "signal", "thread", "randomness"]].concat());
    }
}
