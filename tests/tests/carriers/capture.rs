//! Everything that passes the loopback of this test's own world.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SocketType, eth, recv, socket};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Of TCP's flags.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// The beginning of a TCP connection, or a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Whether it is a datagram.
    pub udp: bool,
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
}

/// A capture that runs.
pub struct Capture {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Begins. Needs to be root in its network.
    pub fn start() -> Self {
        let raw = socket(AddressFamily::PACKET, SocketType::RAW, Some(eth::ALL)).expect("a packet socket");
        let (stop, seen): (Arc<AtomicBool>, Arc<Mutex<Vec<Seen>>>) = Default::default();
        let (ended, into) = (stop.clone(), seen.clone());
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                take_what_is_there(&raw, &into);
            }
            // What was sent before the end is in the socket's buffer by now.
            take_what_is_there(&raw, &into);
        });
        Self { stop, seen, thread: Some(thread) }
    }

    /// Ends; what was seen.
    pub fn stop(mut self) -> Vec<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().expect("a thread").join().expect("its end");
        let seen = self.seen.lock().expect("what was seen");
        seen.clone()
    }
}

fn take_what_is_there(raw: &OwnedFd, into: &Mutex<Vec<Seen>>) {
    let mut frame = [0; 2048];
    let patience = Timespec::try_from(Duration::from_millis(20)).expect("short");
    while poll(&mut [PollFd::new(raw, PollFlags::IN)], Some(&patience)).is_ok_and(|ready| ready > 0) {
        let Ok((len, _)) = recv(raw, &mut frame[..], RecvFlags::DONTWAIT) else { return };
        if let Some(seen) = read(&frame[..len.min(frame.len())]) {
            into.lock().expect("what was seen").push(seen);
        }
    }
}

/// An Ethernet frame with IP in it.
fn read(frame: &[u8]) -> Option<Seen> {
    let packet = frame.get(14..)?;
    let (protocol, from, to, payload): (u8, IpAddr, IpAddr, &[u8]) = match packet.first()? >> 4 {
        4 => {
            let address =
                |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
            let header = usize::from(packet[0] & 0x0f) * 4;
            (*packet.get(9)?, address(12)?.into(), address(16)?.into(), packet.get(header..)?)
        }
        6 => {
            let address =
                |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
            (*packet.get(6)?, address(8)?.into(), address(24)?.into(), packet.get(40..)?)
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(payload.get(at..at + 2)?.try_into().ok()?));
    let seen = Seen { udp: protocol == UDP, from: (from, port(0)?).into(), to: (to, port(2)?).into() };
    match protocol {
        UDP => Some(seen),
        TCP if payload.get(13)? & (SYN | ACK) == SYN => Some(seen),
        _ => None,
    }
}
