//! tshark, as whoever watches a network has it, and what it says of what passed.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use fieldbook_tests::{Machine, wait_for};

use crate::carriers::world;

/// X25519MLKEM768 in TLS.
pub const HYBRID: &str = "4588";

/// tshark, which writes down what passes on the loopback of this world.
pub struct Tap {
    process: Child,
    file: String,
}

impl Tap {
    pub fn start(machine: &Machine, name: &str) -> Self {
        // As a network card would show it: one datagram a frame.
        world::run(&["ip", "link", "set", "dev", "lo", "gso_max_segs", "1"]);
        let file = machine.path(name).to_str().expect("a path").to_owned();
        let mut process = Command::new("tshark");
        process.args(["-i", "lo", "-q", "-w", &file]).stdin(Stdio::null()).stderr(Stdio::null());
        let process = process.stdout(Stdio::null()).spawn().expect("tshark");
        let tap = Self { process, file };
        // It has begun when it has seen something.
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        wait_for("the tap", || {
            socket.send_to(b"hello tap", "127.0.0.1:9").expect("a datagram");
            thread::sleep(Duration::from_millis(200));
            std::fs::metadata(&tap.file).is_ok_and(|file| file.len() > 500).then_some(())
        });
        tap
    }

    /// Ends it: what it wrote.
    pub fn stop(mut self) -> Dump {
        // What has passed lies in its buffers for a moment: until it is written, what is said now is not.
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        wait_for("the end of what passed", || {
            socket.send_to(b"goodbye, tap", "127.0.0.1:9").expect("a datagram");
            thread::sleep(Duration::from_millis(200));
            let written = std::fs::read(&self.file).expect("what was seen");
            written.windows(12).any(|bytes| bytes == b"goodbye, tap").then_some(())
        });
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
        self.process.wait().expect("its end");
        Dump { file: self.file }
    }
}

/// A capture, to be looked at with tshark.
pub struct Dump {
    file: String,
}

impl Dump {
    /// The fields of each frame that `filter` shows, with further options.
    pub fn fields(&self, options: &[&str], filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
        let mut command = Command::new("tshark");
        command.args(["-n", "-r", &self.file, "-Y", filter, "-T", "fields"]).args(options);
        command.args(fields.iter().flat_map(|field| ["-e", field]));
        let said = command.stderr(Stdio::null()).output().expect("tshark");
        assert!(said.status.success(), "{filter}");
        let lines = String::from_utf8(said.stdout).expect("text");
        lines.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    /// What was in the datagrams from and to this port, and whether to it.
    pub fn datagrams(&self, port: u16) -> Vec<(bool, Vec<u8>)> {
        let filter = format!("udp.port == {port} && !icmp");
        let found = self.fields(&[], &filter, &["udp.dstport", "udp.payload"]);
        let found = found.into_iter().map(|fields| (fields[0] == port.to_string(), bytes(&fields[1])));
        found.collect()
    }

    /// What streams to this port carried, by connection: there, and back.
    pub fn streams(&self, port: u16) -> Vec<[Vec<u8>; 2]> {
        let filter = format!("tcp.port == {port} && tcp.len > 0 && !tcp.analysis.retransmission");
        let mut streams: BTreeMap<u64, [Vec<u8>; 2]> = BTreeMap::new();
        for fields in self.fields(&[], &filter, &["tcp.stream", "tcp.dstport", "tcp.payload"]) {
            let back = usize::from(fields[1] != port.to_string());
            let stream = streams.entry(fields[0].parse().expect("a number")).or_default();
            stream[back].extend(bytes(&fields[2]));
        }
        streams.into_values().collect()
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter_map(|c| char::from(c).to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

pub fn port(address: &str) -> u16 {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port")
}

/// How far the counts of byte values are from even, by chi-square: about 255, and 22 more or less for a random source.
pub fn unevenness(bytes: &[u8]) -> f64 {
    let mut counts = [0_f64; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1.0);
    let expected = bytes.len() as f64 / 256.0;
    counts.iter().map(|count| (count - expected).powi(2) / expected).sum()
}
