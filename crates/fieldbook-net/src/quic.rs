//! QUIC endpoints for devices: dial and listen, with the TLS of [`crate::tls`], and behind the [`crate::veil`]
//! unless it is asked for without.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use fieldbook_proto::session::TransportSecret;
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, AsyncUdpSocket, EndpointConfig, IdleTimeout, Runtime as _, TokioRuntime,
    TransportConfig,
};
pub use quinn::{Connection, Endpoint, Incoming, VarInt};
use rustls::pki_types::CertificateDer;

use crate::channel::{BINDING_LABEL, Channel, NO_NAME};
use crate::plain;
use crate::tls::{Beneath, TlsError, TransportKey, raw_key};
use crate::veil::{Dialling, Listening, Veil, system_clock};

/// A peer that says nothing for so long is gone.
const IDLE: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Bytes in flight towards us: bounds what a device of the team can make us hold.
const WINDOW: u32 = 4 << 20;
/// The same of whoever has not shown yet that it is of the team: a hello has room, and not much more.
const WINDOW_OF_STRANGERS: u32 = 16 << 10;
/// Bytes that go out before the first is acknowledged: what an empty session pads to, and what stands around it, so that it
/// goes in one go, whatever it is, and does not wait for an acknowledgement that one of two sessions happens to get.
const INITIAL_WINDOW: u64 = 24 << 10;
/// So many packets are acknowledged by what is said next, or after 25 ms, and not at once: more than an empty session has
/// under way. Acknowledgements at once, each in a datagram of its own, show how long the other side had to work.
const ACKNOWLEDGED_TOGETHER: u8 = 25;
/// A packet that is missing while so many later ones are there is told at once.
const REORDERED: u8 = 3;
/// Datagrams of a connection that nobody has looked at yet, and of all of these together.
const EARLY: u64 = 16 << 10;
const EARLY_ALL: u64 = 4 << 20;
/// Connections that nobody has looked at yet.
const INCOMING_MAX: usize = 256;

const NO_SUITE: &str = "the cipher of QUIC's first packets is missing";

/// Why a connection could not be made or lasted no longer.
#[derive(Debug)]
pub enum QuicError {
    /// The key cannot be used.
    Tls(TlsError),
    /// The socket cannot be used.
    Socket(io::Error),
    /// The address cannot be dialled.
    Dial(String),
    /// Nobody answered, or the handshake failed.
    Handshake(&'static str),
    /// The peer showed no Ed25519 key.
    NoKey,
}

impl fmt::Display for QuicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(error) => error.fmt(f),
            Self::Socket(error) => write!(f, "the network socket cannot be used: {error}"),
            Self::Dial(why) => write!(f, "the address cannot be dialled: {why}"),
            Self::Handshake(why) => write!(f, "no connection: {why}"),
            Self::NoKey => f.write_str("the other side showed no device key"),
        }
    }
}

impl std::error::Error for QuicError {}

impl From<TlsError> for QuicError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

/// What the datagrams of a listener look like.
#[derive(Debug, Clone)]
pub enum Guise {
    /// QUIC's own.
    Unveiled,
    /// Boxes, and whoever comes otherwise gets no answer.
    Veiled(Arc<Veil>),
    /// Whoever comes in boxes gets boxes, whoever speaks plain QUIC gets that.
    Both(Arc<Veil>),
}

/// An endpoint that only dials, and only `target`; in boxes under the secret `veil`, or in plain QUIC.
///
/// # Errors
/// The socket cannot be bound.
pub fn dialler(
    key: &TransportKey,
    target: SocketAddr,
    veil: Option<&TransportSecret>,
) -> Result<Endpoint, QuicError> {
    dialling(key.client(Beneath::Quic)?, target, veil)
}

/// The same, veiled; only whoever shows one of these keys sees this device's.
///
/// # Errors
/// As [`dialler`].
pub fn dialler_to(
    keys: &[[u8; 32]],
    key: &TransportKey,
    target: SocketAddr,
    veil: &TransportSecret,
) -> Result<Endpoint, QuicError> {
    dialling(key.client_to(keys, Beneath::Quic)?, target, Some(veil))
}

fn dialling(
    tls: rustls::ClientConfig,
    target: SocketAddr,
    veil: Option<&TransportSecret>,
) -> Result<Endpoint, QuicError> {
    let any: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = bound(any).map_err(QuicError::Socket)?;
    let socket: Arc<dyn AsyncUdpSocket> = match veil {
        None => socket,
        Some(secret) => Arc::new(Dialling::new(socket, secret, &system_clock()).map_err(QuicError::Socket)?),
    };
    let mut endpoint = endpoint(socket, None).map_err(QuicError::Socket)?;
    let crypto = QuicClientConfig::try_from(tls).map_err(|_| QuicError::Handshake(NO_SUITE))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport(0)));
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

/// Dials; the handshake must be done within `patience`.
///
/// # Errors
/// Nobody answers in time, or the handshake fails.
pub async fn dial(
    endpoint: &Endpoint,
    target: SocketAddr,
    patience: Duration,
) -> Result<(quinn::Connection, Channel), QuicError> {
    let connecting = endpoint.connect(target, NO_NAME).map_err(|error| QuicError::Dial(error.to_string()))?;
    let connection = tokio::time::timeout(patience, connecting)
        .await
        .map_err(|_| QuicError::Handshake("nobody answered in time"))?
        .map_err(|error| QuicError::Handshake(plain::quic(&error)))?;
    let channel = channel(&connection)?;
    Ok((connection, channel))
}

/// An endpoint that listens. Each connection may open one stream, which carries its session.
///
/// # Errors
/// The address cannot be bound.
pub fn listener(key: &TransportKey, address: SocketAddr, guise: Guise) -> Result<Endpoint, QuicError> {
    let crypto =
        QuicServerConfig::try_from(key.server(Beneath::Quic)?).map_err(|_| QuicError::Handshake(NO_SUITE))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport(1)))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(EARLY)
        .incoming_buffer_size_total(EARLY_ALL);
    let socket = bound(address).map_err(QuicError::Socket)?;
    let socket: Arc<dyn AsyncUdpSocket> = match guise {
        Guise::Unveiled => socket,
        Guise::Veiled(veil) => Arc::new(Listening::new(socket, veil, false)),
        Guise::Both(veil) => Arc::new(Listening::new(socket, veil, true)),
    };
    endpoint(socket, Some(config)).map_err(QuicError::Socket)
}

fn bound(address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    TokioRuntime.wrap_udp_socket(UdpSocket::bind(address)?)
}

fn endpoint(socket: Arc<dyn AsyncUdpSocket>, server: Option<quinn::ServerConfig>) -> io::Result<Endpoint> {
    Endpoint::new_with_abstract_socket(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))
}

/// The peer's key and the binding of an established connection.
///
/// # Errors
/// The peer showed no key: cannot happen with the configurations made here.
pub fn channel(connection: &quinn::Connection) -> Result<Channel, QuicError> {
    let certificates = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or(QuicError::NoKey)?;
    let peer_key = raw_key(&certificates).ok_or(QuicError::NoKey)?;
    let mut binding = [0; 32];
    connection.export_keying_material(&mut binding, BINDING_LABEL, b"").map_err(|_| QuicError::NoKey)?;
    Ok(Channel { peer_key, binding })
}

/// The peer is of the team: it may have as much under way as any device.
pub fn open_window(connection: &quinn::Connection) {
    connection.set_receive_window(VarInt::from(WINDOW));
}

fn transport(streams: u8) -> TransportConfig {
    let mut acknowledging = AckFrequencyConfig::default();
    acknowledging
        .ack_eliciting_threshold(VarInt::from(ACKNOWLEDGED_TOGETHER))
        .reordering_threshold(VarInt::from(REORDERED));
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW);
    let mut config = TransportConfig::default();
    config
        // Packets stay at 1,200 bytes, which every network carries. Probes for more would double what an empty session
        // costs, and how many of them there is time for shows how long a session took.
        .mtu_discovery_config(None)
        .ack_frequency_config(Some(acknowledging))
        .congestion_controller_factory(Arc::new(congestion))
        .max_concurrent_bidi_streams(VarInt::from(streams))
        .max_concurrent_uni_streams(VarInt::from(0_u8))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from(WINDOW))
        .receive_window(VarInt::from(WINDOW_OF_STRANGERS))
        .send_window(u64::from(WINDOW))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok());
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> (TransportKey, [u8; 32]) {
        let public = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
        (TransportKey::new(&[seed; 32], &public).unwrap(), public)
    }

    #[tokio::test]
    async fn two_devices_prove_their_keys_to_each_other_and_share_a_binding() {
        let ((server, server_key), (client, client_key)) = (key(1), key(2));
        let listening = listener(&server, ([127, 0, 0, 1], 0).into(), Guise::Unveiled).unwrap();
        let address = listening.local_addr().unwrap();
        let dialling = dialler(&client, address, None).unwrap();
        let accepted = tokio::spawn(async move {
            let connection = listening.accept().await.unwrap().await.unwrap();
            (channel(&connection).unwrap(), connection, listening)
        });
        let (connection, ours) = dial(&dialling, address, Duration::from_secs(10)).await.unwrap();
        let (theirs, _connection, _listening) = accepted.await.unwrap();
        assert_eq!(ours.peer_key, server_key);
        assert_eq!(theirs.peer_key, client_key);
        assert_eq!(ours.binding, theirs.binding);
        drop(connection);
    }

    #[tokio::test]
    async fn a_connection_survives_that_the_device_changes_its_network() {
        let ((server, _), (client, _)) = (key(1), key(2));
        let listening = listener(&server, ([127, 0, 0, 1], 0).into(), Guise::Unveiled).unwrap();
        let address = listening.local_addr().unwrap();
        let dialling = dialler(&client, address, None).unwrap();
        let before = dialling.local_addr().unwrap();
        let heard = tokio::spawn(async move {
            let connection = listening.accept().await.unwrap().await.unwrap();
            let (mut writer, mut reader) = connection.accept_bi().await.unwrap();
            let mut first = [0; 6];
            reader.read_exact(&mut first).await.unwrap();
            writer.write_all(b"heard").await.unwrap();
            let rest = reader.read_to_end(1_000).await.unwrap();
            (first, rest, connection.remote_address(), listening)
        });
        let (connection, _) = dial(&dialling, address, Duration::from_secs(10)).await.unwrap();
        let (mut writer, mut reader) = connection.open_bi().await.unwrap();
        writer.write_all(b"before").await.unwrap();
        let mut answer = [0; 5];
        reader.read_exact(&mut answer).await.unwrap();
        dialling.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let after = dialling.local_addr().unwrap();
        assert_ne!(before, after);
        writer.write_all(b"after").await.unwrap();
        writer.finish().unwrap();
        let (first, rest, remote, _listening) = heard.await.unwrap();
        assert_eq!((&first[..], &rest[..], remote), (&b"before"[..], &b"after"[..], after));
    }

    #[tokio::test]
    async fn a_stranger_makes_us_hold_little_and_a_device_of_the_team_more() {
        let ((server, _), (client, _)) = (key(1), key(2));
        let listening = listener(&server, ([127, 0, 0, 1], 0).into(), Guise::Unveiled).unwrap();
        let address = listening.local_addr().unwrap();
        let dialling = dialler(&client, address, None).unwrap();
        let accepted =
            tokio::spawn(async move { (listening.accept().await.unwrap().await.unwrap(), listening) });
        let (connection, _) = dial(&dialling, address, Duration::from_secs(10)).await.unwrap();
        let (served, _listening) = accepted.await.unwrap();
        let (mut writer, _reader) = connection.open_bi().await.unwrap();
        // Nobody reads.
        let mut taken = 0;
        let block = vec![7; 64 << 10];
        while let Ok(Ok(len)) = tokio::time::timeout(Duration::from_millis(300), writer.write(&block)).await {
            taken += len;
            assert!(taken <= WINDOW_OF_STRANGERS as usize, "{taken}");
        }
        assert_eq!(taken, WINDOW_OF_STRANGERS as usize);
        open_window(&served);
        while taken < WINDOW as usize {
            taken += writer.write(&block).await.unwrap();
        }
    }

    #[tokio::test]
    async fn nobody_there_is_an_error_in_time() {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let dialling = dialler(&key(3).0, address, None).unwrap();
        let error = dial(&dialling, address, Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(error, QuicError::Handshake(_)), "{error}");
    }
}
