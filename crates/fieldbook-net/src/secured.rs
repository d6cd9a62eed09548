//! TLS over any stream of bytes, with what a session needs of a carrier: the keys proven both ways, the
//! binding, and halves that end one by one.
//!
//! A half ends with TLS's own word for it (`close_notify`), so that nobody on the way can cut a session
//! short and have it taken for complete. Buffers are small and fixed: rustls holds at most 64 KiB that
//! wait to be sent and one record that came in; everything beyond waits in the peer.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::channel::{BINDING_LABEL, Channel, NO_NAME};
use crate::plain::plain;
use crate::tls::{Beneath, TlsError, TransportKey, raw_key};

/// Encrypted bytes that may wait to be sent.
const SEND_BUFFER: usize = 64 * 1024;

/// Why no secured stream came to be.
#[derive(Debug)]
pub enum SecureError {
    /// The key cannot be used.
    Tls(TlsError),
    /// The stream beneath, or the handshake on it, failed.
    Handshake(io::Error),
    /// The handshake was not done in time.
    Silent,
    /// The peer showed no Ed25519 key.
    NoKey,
}

impl fmt::Display for SecureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(error) => error.fmt(f),
            Self::Handshake(error) if error.kind() == io::ErrorKind::InvalidData => {
                f.write_str("who answers there does not speak as a device does")
            }
            Self::Handshake(error) if hung_up(error) => f.write_str("who answers there hung up"),
            Self::Handshake(error) => write!(f, "no connection: {}", plain(error)),
            Self::Silent => f.write_str("no connection: nobody answered in time"),
            Self::NoKey => f.write_str("the other side showed no device key"),
        }
    }
}

impl std::error::Error for SecureError {}

fn hung_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

impl From<TlsError> for SecureError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

/// What TLS can go over.
pub trait Carried: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Carried for S {}

/// A stream with TLS on it, after the handshake.
pub type Secured = TlsStream<Box<dyn Carried>>;

/// Shakes hands as the side that connected, over `stream`, within `patience`.
///
/// # Errors
/// The stream breaks, nobody answers in time, or who answers does not shake hands as a device does.
pub async fn connect(
    key: &TransportKey,
    stream: impl Carried + 'static,
    patience: Duration,
) -> Result<(Secured, Channel), SecureError> {
    connect_by(key.client(Beneath::Stream)?, stream, patience).await
}

/// The same; whoever answers must show one of these keys, and sees nothing of this device's otherwise.
///
/// # Errors
/// As [`connect`].
pub async fn connect_to(
    keys: &[[u8; 32]],
    key: &TransportKey,
    stream: impl Carried + 'static,
    patience: Duration,
) -> Result<(Secured, Channel), SecureError> {
    connect_by(key.client_to(keys, Beneath::Stream)?, stream, patience).await
}

async fn connect_by(
    tls: rustls::ClientConfig,
    stream: impl Carried + 'static,
    patience: Duration,
) -> Result<(Secured, Channel), SecureError> {
    let connector = TlsConnector::from(Arc::new(tls));
    let name = ServerName::try_from(NO_NAME).map_err(|_| SecureError::NoKey)?;
    let stream: Box<dyn Carried> = Box::new(stream);
    let shaking = connector.connect_with(name, stream, |tls| tls.set_buffer_limit(Some(SEND_BUFFER)));
    let shaken = timeout(patience, shaking).await.map_err(|_| SecureError::Silent)?;
    with_channel(TlsStream::from(shaken.map_err(SecureError::Handshake)?))
}

/// The side that is connected to.
#[derive(Clone)]
pub struct Acceptor(TlsAcceptor);

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor(secret)")
    }
}

impl Acceptor {
    /// Shows this key to whoever connects.
    ///
    /// # Errors
    /// The key cannot be used.
    pub fn new(key: &TransportKey) -> Result<Self, TlsError> {
        Ok(Self(TlsAcceptor::from(Arc::new(key.server(Beneath::Stream)?))))
    }

    /// Shakes hands over `stream`, within `patience`. Nothing but the handshake is said.
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn accept(
        &self,
        stream: impl Carried + 'static,
        patience: Duration,
    ) -> Result<(Secured, Channel), SecureError> {
        let stream: Box<dyn Carried> = Box::new(stream);
        let shaking = self.0.accept_with(stream, |tls| tls.set_buffer_limit(Some(SEND_BUFFER)));
        let shaken = timeout(patience, shaking).await.map_err(|_| SecureError::Silent)?;
        with_channel(TlsStream::from(shaken.map_err(SecureError::Handshake)?))
    }
}

fn with_channel(stream: Secured) -> Result<(Secured, Channel), SecureError> {
    let (_, tls) = stream.get_ref();
    let peer_key = tls.peer_certificates().and_then(raw_key).ok_or(SecureError::NoKey)?;
    let binding = match &stream {
        TlsStream::Client(client) => {
            client.get_ref().1.export_keying_material([0; 32], BINDING_LABEL, Some(b""))
        }
        TlsStream::Server(server) => {
            server.get_ref().1.export_keying_material([0; 32], BINDING_LABEL, Some(b""))
        }
    };
    let binding = binding.map_err(|_| SecureError::NoKey)?;
    Ok((stream, Channel { peer_key, binding }))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn key(seed: u8) -> (TransportKey, [u8; 32]) {
        let public = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
        (TransportKey::new(&[seed; 32], &public).unwrap(), public)
    }

    async fn pair() -> (Secured, Secured) {
        let (near, far) = duplex(4_096);
        let ((client, client_key), (server, server_key)) = (key(1), key(2));
        let acceptor = Acceptor::new(&server).unwrap();
        let (ours, theirs) = tokio::join!(connect(&client, near, PATIENCE), acceptor.accept(far, PATIENCE));
        let ((ours, our_channel), (theirs, their_channel)) = (ours.unwrap(), theirs.unwrap());
        assert_eq!((our_channel.peer_key, their_channel.peer_key), (server_key, client_key));
        assert_eq!(our_channel.binding, their_channel.binding);
        assert_ne!(our_channel.binding, [0; 32]);
        (ours, theirs)
    }

    #[tokio::test]
    async fn each_half_ends_by_itself() {
        let (mut client, mut server) = pair().await;
        client.write_all(b"asked").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"asked");
        // The other half still carries, more than all buffers on the way hold.
        let long = vec![7; 1 << 20];
        let answer = long.clone();
        let answering = tokio::spawn(async move {
            server.write_all(&answer).await.unwrap();
            server.shutdown().await.unwrap();
        });
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert!(heard == long);
        answering.await.unwrap();
    }

    #[tokio::test]
    async fn a_stream_that_is_cut_is_not_taken_for_one_that_ended() {
        let (mut client, mut server) = pair().await;
        client.write_all(b"half of").await.unwrap();
        client.flush().await.unwrap();
        // The wire goes, and TLS has not said that this was all.
        drop(client);
        let error = server.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn who_does_not_read_is_not_written_to_for_ever() {
        let (client, _server) = pair().await;
        let (_reader, mut writer) = tokio::io::split(client);
        let mut written = 0;
        let block = vec![1; 16 * 1024];
        while let Ok(Ok(len)) = timeout(Duration::from_millis(200), writer.write(&block)).await {
            written += len;
            assert!(written < 1 << 20, "bytes pile up in memory");
        }
    }

    #[tokio::test]
    async fn silence_and_noise_are_errors_in_time() {
        let (near, _far) = duplex(4_096);
        let silent = connect(&key(1).0, near, Duration::from_millis(100)).await;
        assert!(matches!(silent, Err(SecureError::Silent)));
        let (near, mut far) = duplex(4_096);
        far.write_all(&[0x55; 2_000]).await.unwrap();
        let noise = Acceptor::new(&key(1).0).unwrap().accept(near, PATIENCE).await;
        assert!(matches!(noise, Err(SecureError::Handshake(_))));
    }
}
