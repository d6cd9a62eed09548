//! TCP: dial and listen. What flows is TLS ([`crate::secured`]) behind the [`crate::veil`].

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;

/// Connects within `patience`.
///
/// # Errors
/// Nobody is there, or nobody answers in time.
pub async fn dial(target: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = timeout(patience, TcpStream::connect(target))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "nobody answered in time"))??;
    prepared(stream)
}

/// Listens at `address`.
///
/// # Errors
/// The address cannot be bound.
pub fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket =
        if address.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
    // A daemon that is started anew need not wait for the connections of its predecessor to fade.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A session waits for answers to small messages: they are not held back to be joined with later ones.
///
/// # Errors
/// The connection is gone already.
pub fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}
