//! Devices of a team that are in one network and know no address of each other; and whoever else is there: listens, records,
//! repeats, shouts. Each test has a cable between two networks of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use fieldbook_tests::{Machine, Running, run, team_of_two, wait_for};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SocketType, eth, recv, socket};
use serde_json::Value;

use crate::carriers::world;
use crate::making::finished_plain as finished;
use crate::reading::ids;

/// Where beacons go, and how long they are (`protocol/lan.md`).
const PORT: u16 = 27_183;
const BEACON: usize = 128;
const HERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// Whoever else is at the other end.
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
const ALL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 255);

/// A datagram that passed the cable.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Passed {
    from: SocketAddrV4,
    to: SocketAddrV4,
    bytes: Vec<u8>,
}

/// The network at the other end of a cable, and all that passes at this one.
struct Cable {
    there: Child,
    udp: Arc<Mutex<Vec<Passed>>>,
    /// Beginnings of TCP connections.
    tcp: Arc<Mutex<usize>>,
    stop: Arc<AtomicBool>,
}

impl Cable {
    fn lay() -> Self {
        let there = Command::new("unshare")
            .args(["--net", "sleep", "10000"])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare, of util-linux");
        let network = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
        let pid = there.id().to_string();
        wait_for("another network", || network(&pid).filter(|there| Some(there) != network("self").as_ref()));
        let cable = Self { there, udp: Arc::default(), tcp: Arc::default(), stop: Arc::default() };
        world::run(&["ip", "link", "add", "here", "type", "veth", "peer", "name", "there"]);
        world::run(&["ip", "link", "set", "there", "netns", &pid]);
        world::run(&["ip", "addr", "add", "10.77.0.1/24", "dev", "here"]);
        // One datagram a frame.
        world::run(&["ip", "link", "set", "dev", "here", "gso_max_segs", "1"]);
        world::run(&["ip", "link", "set", "here", "up"]);
        for line in ["link set lo up", "addr add 10.77.0.2/24 dev there", "addr add 10.77.0.3/24 dev there"] {
            cable.do_there("ip", line);
        }
        cable.do_there("ip", "link set dev there gso_max_segs 1");
        cable.do_there("ip", "link set there up");
        let raw = socket(AddressFamily::PACKET, SocketType::RAW, Some(eth::ALL)).expect("a packet socket");
        let (udp, tcp, stop) = (cable.udp.clone(), cable.tcp.clone(), cable.stop.clone());
        thread::spawn(move || {
            let mut frame = [0; 4096];
            let patience = Timespec::try_from(Duration::from_millis(100)).expect("short");
            while !stop.load(SeqCst) {
                if poll(&mut [PollFd::new(&raw, PollFlags::IN)], Some(&patience)).is_ok_and(|ready| ready > 0)
                    && let Ok((len, _)) = recv(&raw, &mut frame[..], RecvFlags::DONTWAIT)
                {
                    match read(&frame[..len.min(frame.len())]) {
                        Some(Ok(passed)) => udp.lock().expect("a record").push(passed),
                        Some(Err(())) => *tcp.lock().expect("a count") += 1,
                        None => {}
                    }
                }
            }
        });
        cable
    }

    /// A command at the other end.
    fn at_the_other_end(&self, command: &Command) -> Command {
        let mut other = Command::new("nsenter");
        other.args(["-t", &self.there.id().to_string(), "-n", "--"]);
        other.arg(command.get_program()).args(command.get_args());
        other.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(dir) = command.get_current_dir() {
            other.current_dir(dir);
        }
        other
    }

    #[track_caller]
    fn do_there(&self, program: &str, line: &str) -> String {
        let mut command = Command::new(program);
        command.args(line.split(' ')).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        run(self.at_the_other_end(&command), b"").exits(0).out()
    }

    fn daemon_there(&self, machine: &Machine, options: &[&str]) -> Running {
        let words = [&["--json", "daemon"][..], options].concat();
        let mut daemon = Running::start(self.at_the_other_end(&machine.command(&words)));
        daemon.object_with("listening");
        daemon
    }

    /// Sends datagrams from the other end to everybody, through a shell there.
    fn shout(&self, from: Ipv4Addr, datagrams: &[Vec<u8>]) {
        let hex: Vec<String> = datagrams
            .iter()
            .map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
            .collect();
        let code = "import socket,sys\n\
            s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n\
            s.setsockopt(socket.SOL_SOCKET,socket.SO_BROADCAST,1)\n\
            s.bind((sys.argv[1],0))\n\
            [s.sendto(bytes.fromhex(x.strip()),('10.77.0.255',27183)) for x in sys.stdin]\n";
        let mut command = Command::new("python3");
        command.args(["-c", code, &from.to_string()]);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        run(self.at_the_other_end(&command), hex.join("\n").as_bytes()).exits(0);
    }

    /// Junk to everybody, some thousand datagrams a second, until the process that this returns is ended.
    fn shouting(&self) -> Child {
        let code = "import socket,os,time\n\
            s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n\
            s.setsockopt(socket.SOL_SOCKET,socket.SO_BROADCAST,1)\n\
            n=0\n\
            while True:\n\
            \x20 n+=1\n\
            \x20 s.sendto(os.urandom(128 if n%2 else n%1400),('10.77.0.255',27183))\n\
            \x20 n%20 or time.sleep(.005)\n";
        let mut command = Command::new("python3");
        command.args(["-c", code]).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        self.at_the_other_end(&command).stdin(Stdio::null()).spawn().expect("python3")
    }

    fn passed(&self) -> Vec<Passed> {
        self.udp.lock().expect("a record").clone()
    }

    /// What this end sent to the other, and not to everybody.
    fn to_somebody(&self) -> Vec<Passed> {
        let mut passed = self.passed();
        passed.retain(|passed| *passed.from.ip() == HERE && *passed.to.ip() != ALL);
        passed
    }

    /// Waits until nothing is under way any more to somebody; how much that was.
    fn settled(&self) -> usize {
        let mut last = None;
        wait_for("silence", || {
            let now = self.to_somebody().len();
            let same = last.replace(now) == Some(now);
            thread::sleep(Duration::from_secs(1));
            same.then_some(now)
        })
    }

    fn beacons_from(&self, from: Ipv4Addr) -> Vec<Passed> {
        let mut passed = self.passed();
        passed.retain(|passed| *passed.from.ip() == from && passed.to == SocketAddrV4::new(ALL, PORT));
        passed
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        let _ = self.there.kill();
        let _ = self.there.wait();
    }
}

/// A datagram in a frame of Ethernet; or the beginning of a TCP connection.
fn read(frame: &[u8]) -> Option<Result<Passed, ()>> {
    let packet = frame.get(14..)?;
    if packet.first()? >> 4 != 4 {
        return None;
    }
    let payload = packet.get(usize::from(packet[0] & 0x0f) * 4..)?;
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
    let number = |at: usize| Some(u16::from_be_bytes(payload.get(at..at + 2)?.try_into().ok()?));
    match *packet.get(9)? {
        6 if *payload.get(13)? & 0x12 == 0x02 => Some(Err(())),
        17 if address(12)? != Ipv4Addr::LOCALHOST => {
            let len = usize::from(number(4)?);
            Some(Ok(Passed {
                from: SocketAddrV4::new(address(12)?, number(0)?),
                to: SocketAddrV4::new(address(16)?, number(2)?),
                bytes: payload.get(8..len)?.to_vec(),
            }))
        }
        _ => None,
    }
}

fn status(machine: &Machine) -> Value {
    machine.json(&["daemon", "status"]).remove(0)
}

fn lan(machine: &Machine) -> Value {
    status(machine)["lan"].clone()
}

fn connections(machine: &Machine) -> usize {
    status(machine)["connections"].as_array().map_or(0, Vec::len)
}

/// Whether this network has a socket at the beacons' port.
fn hears() -> bool {
    let sockets = std::fs::read_to_string("/proc/self/net/udp").expect("the kernel's table");
    sockets.contains(&format!(":{PORT:04X} "))
}

#[test]
fn two_devices_that_know_no_address_find_each_other_and_a_report_arrives() {
    if !world::inside("lan::two_devices_that_know_no_address_find_each_other_and_a_report_arrives") {
        return;
    }
    let (a, b) = team_of_two();
    let id = finished(&b);
    let cable = Cable::lay();
    let mut here = a.start(&["daemon", "--lan"]);
    assert_eq!(here.object_with("listening")["carriers"], serde_json::json!(["quic"]));
    let mut there = cable.daemon_there(&b, &["--lan"]);
    wait_for("the report", || ids(&a).contains(&id).then_some(()));
    // Both may have begun at once: one connection is left.
    wait_for("one connection", || (connections(&a) == 1 && connections(&b) == 1).then_some(()));
    // What is said of it, and by what the process is held that did it.
    for machine in [&a, &b] {
        wait_for("what was heard", || lan(machine)["heard_ms"].as_i64());
        wait_for("the network", || (lan(machine)["networks"] == 1).then_some(()));
        let status = status(machine);
        assert_eq!(status["confinement"], "confined");
        assert!(machine.ok(&["status"]).out().contains("LAN discovery is on: your team was heard last at"));
        assert!(machine.ok(&["daemon", "status"]).out().contains("LAN discovery is on"));
        let checks = machine.run(&["--json", "doctor"]).lines();
        assert!(
            checks.iter().any(|check| check["check"] == "lan" && check["verdict"] == "good"),
            "{checks:?}"
        );
        // No address of the other stays, whoever of the two has dialled.
        let status = machine.json(&["status"]).remove(0);
        assert_eq!(status["peers"].as_array().map(Vec::len), Some(1), "{status}");
        assert_eq!(status["peers"][0]["address"], Value::Null, "{status}");
    }
    // What both say next goes over the connection that stands.
    let next = finished(&b);
    wait_for("the next report", || ids(&a).contains(&next).then_some(()));
    // On the cable: beacons to everybody, veiled datagrams, nothing else. Chance chooses their ports.
    wait_for("more beacons", || (cable.beacons_from(THERE).len() > 2).then_some(()));
    assert!(here.runs() && there.runs());
    let all = cable.passed();
    let beacons: Vec<&Passed> = all.iter().filter(|passed| passed.to.port() == PORT).collect();
    assert!(beacons.iter().all(|beacon| beacon.bytes.len() == BEACON && *beacon.to.ip() == ALL));
    let ports: BTreeSet<SocketAddrV4> = beacons.iter().map(|beacon| beacon.from).collect();
    assert!(ports.len() * 2 > beacons.len(), "{ports:?}, and {} beacons", beacons.len());
    let mut windows: BTreeMap<&[u8], usize> = BTreeMap::new();
    beacons
        .iter()
        .flat_map(|beacon| beacon.bytes.windows(8))
        .for_each(|eight| *windows.entry(eight).or_default() += 1);
    assert!(windows.values().all(|times| *times == 1), "two beacons have eight bytes in common");
    let others = all.iter().filter(|passed| passed.to.port() != PORT);
    let lengths: BTreeSet<usize> = others.map(|passed| passed.bytes.len()).collect();
    assert!(!lengths.is_empty() && lengths.iter().all(|len| [128, 512, 1232].contains(len)), "{lengths:?}");
}

#[test]
fn without_the_flag_nothing_is_sent_and_no_port_is_opened() {
    if !world::inside("lan::without_the_flag_nothing_is_sent_and_no_port_is_opened") {
        return;
    }
    let (a, _) = team_of_two();
    let cable = Cable::lay();
    let mut daemon = a.start(&["daemon", "--listen", "0.0.0.0:4040"]);
    daemon.object_with("listening");
    // Twice as long as the first beacon would take.
    thread::sleep(Duration::from_secs(4));
    assert!(daemon.runs() && !hears());
    assert_eq!(cable.beacons_from(HERE), []);
    assert_eq!(lan(&a), Value::Null);
    assert!(a.ok(&["daemon", "status"]).out().contains("LAN discovery is off"));
    a.ok(&["daemon", "stop"]);
    // That the test would see it.
    let mut daemon = a.start(&["daemon", "--listen", "0.0.0.0:4040", "--lan"]);
    daemon.object_with("listening");
    wait_for("the port of beacons", || hears().then_some(()));
    wait_for("a beacon", || (!cable.beacons_from(HERE).is_empty()).then_some(()));
    assert!(wait_for("the count of beacons", || lan(&a)["sent"].as_u64().filter(|sent| *sent > 0)) < 3);
    a.ok(&["daemon", "stop"]);
    assert!(!hears());
    // What cannot work is not begun.
    let before = cable.beacons_from(HERE).len();
    for (bad, words) in [
        (&["daemon", "--listen", "127.0.0.1:0", "--lan"][..], "this machine alone"),
        (&["daemon", "--listen", "0.0.0.0:0", "--no-udp", "--lan"], "--no-udp"),
        (&["daemon", "--listen", "0.0.0.0:0", "--unveiled", "--lan"], "--unveiled"),
        (&["daemon", "--with", "192.0.2.1:1", "--only-via", "socks5://127.0.0.1:9", "--lan"], "--only-via"),
    ] {
        let error = a.fails(2, bad);
        assert!(error["message"].as_str().is_some_and(|said| said.contains(words)), "{error}");
    }
    assert_eq!(cable.beacons_from(HERE).len(), before);
    // By TCP nobody learns more than by UDP: whoever knocks hears nothing.
    for (tcp, options) in [
        (true, &["--listen", "0.0.0.0:4040"][..]),
        (false, &["--listen", "0.0.0.0:4040", "--no-tcp"]),
        (false, &[]),
    ] {
        let mut daemon = a.start(&[&["daemon", "--lan"], options].concat());
        daemon.object_with("port");
        wait_for("a status", || lan(&a)["networks"].as_u64());
        let knock = std::net::TcpStream::connect((HERE, 4040));
        assert_eq!(knock.is_ok(), tcp, "{options:?}");
        if let Ok(mut knock) = knock {
            use std::io::{Read as _, Write as _};
            knock.write_all(&[0x16, 3, 1, 2, 0].repeat(60)).expect("somebody who listens");
            knock.shutdown(std::net::Shutdown::Write).expect("a stream");
            let mut heard = Vec::new();
            let _ = knock.read_to_end(&mut heard);
            assert!(heard.is_empty(), "{} bytes", heard.len());
        }
        a.ok(&["daemon", "stop"]);
        assert!(daemon.ends().success());
    }
}

#[test]
fn whoever_was_only_heard_is_dialled_by_udp_and_by_nothing_else() {
    if !world::inside("lan::whoever_was_only_heard_is_dialled_by_udp_and_by_nothing_else") {
        return;
    }
    let (a, b) = team_of_two();
    let cable = Cable::lay();
    // What is meant for this end alone goes to a machine that is not there: beacons arrive, answers do not.
    cable.do_there("ip", "neigh add 10.77.0.1 lladdr 02:00:00:00:00:99 dev there nud permanent");
    let _here = a.start(&["daemon", "--lan"]);
    let _there = cable.daemon_there(&b, &["--lan"]);
    wait_for("a call", || (!cable.to_somebody().is_empty()).then_some(()));
    // Several times as long as dialling waits before it tries TCP as well.
    thread::sleep(Duration::from_secs(4));
    assert!(cable.to_somebody().iter().all(|passed| *passed.to.ip() == THERE && passed.bytes.len() == 1232));
    assert_eq!(*cable.tcp.lock().expect("a count"), 0);
    assert_eq!(connections(&a) + connections(&b), 0);
}

#[test]
fn recordings_and_noise_move_nobody_and_keep_nobody_from_being_heard() {
    if !world::inside("lan::recordings_and_noise_move_nobody_and_keep_nobody_from_being_heard") {
        return;
    }
    let (a, b) = team_of_two();
    let cable = Cable::lay();
    let begin = || {
        let mut daemon = a.start(&["daemon", "--lan"]);
        let at = daemon.object_with("listening")["address"].as_str().map(str::to_owned);
        (daemon, at.and_then(|at| at.rsplit(':').next().map(str::to_owned)).expect("a port"))
    };
    let first = begin();
    let there = cable.daemon_there(&b, &["--lan"]);
    wait_for("the two to meet", || (connections(&a) == 1).then_some(()));
    wait_for("beacons to record", || (cable.beacons_from(THERE).len() > 1).then_some(()));
    let recorded: Vec<Vec<u8>> = cable.beacons_from(THERE).into_iter().map(|passed| passed.bytes).collect();
    b.ok(&["daemon", "stop"]);
    drop(there);
    a.ok(&["daemon", "stop"]);
    drop(first);

    // To a device that has heard none of them: from where they came, and from elsewhere. Nobody stirs, and no word is said
    // of what may be a recording.
    let before = cable.settled();
    let (mut here, port) = begin();
    wait_for("the port of beacons", || hears().then_some(()));
    for from in [OTHER, THERE] {
        cable.shout(from, &recorded);
    }
    wait_for("its own beacon", || lan(&a)["sent"].as_u64().filter(|sent| *sent > 0));
    cable.shout(OTHER, &recorded);
    assert_eq!(cable.settled(), before, "a recording was answered");
    assert_eq!((&lan(&a)["heard_ms"], &lan(&a)["earlier_ms"]), (&Value::Null, &Value::Null));

    // The other comes back, in the midst of noise.
    let mut noise = cable.shouting();
    let there = cable.daemon_there(&b, &["--lan"]);
    let id = finished(&b);
    wait_for("the report", || ids(&a).contains(&id).then_some(()));
    noise.kill().expect("its end");
    noise.wait().expect("its end");
    assert!(here.runs(), "{}", here.err());

    // Removed from the team, it is heard, and not called. That lasts longer than the pause after a session.
    a.ok(&["team", "remove", "Monitor", "--yes"]);
    wait_for("the end of the connection", || (connections(&a) == 0).then_some(()));
    let before = cable.settled();
    wait_for("the device with earlier keys", || lan(&a)["earlier_ms"].as_i64());
    let count = cable.beacons_from(THERE).len();
    wait_for("more of its beacons", || (cable.beacons_from(THERE).len() > count + 2).then_some(()));
    assert_eq!(cable.settled(), before, "a device that was removed was called");
    assert!(a.ok(&["daemon", "status"]).out().contains("has only earlier keys of your team"));
    // Nor is it answered when it asks at the very port.
    b.ok(&["daemon", "stop"]);
    drop(there);
    let asked = || {
        cable.passed().iter().filter(|passed| *passed.to.ip() == HERE && passed.bytes.len() == 1232).count()
    };
    let had = asked();
    let address = format!("{HERE}:{port}");
    let calling = b.command(&["--json", "sync", "--with", &address]);
    run(cable.at_the_other_end(&calling), b"");
    assert!(asked() > had, "it asked by UDP");
    assert_eq!(cable.settled(), before, "a device that was removed was answered");
    assert!(here.runs());
}
