//! TLS 1.3 with raw public keys on both sides (RFC 7250): a device is its key, and nobody else's
//! authority is asked.
//!
//! Whoever holds a key may shake hands; whether the key belongs to the team is the session's
//! question, which it asks before it says anything (`protocol/session.md`). The handshake uses
//! X25519MLKEM768 and nothing else, offers no early data, keeps no tickets that would link two
//! visits, sends no server name, and names the protocol that most of the network speaks.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme,
};
use zeroize::Zeroizing;

/// SubjectPublicKeyInfo of an Ed25519 key up to the key itself (RFC 8410 section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// PKCS #8 of an Ed25519 seed up to the seed itself (RFC 8410 section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// What lies beneath TLS. Each names the commonest protocol there: the name says nothing about us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beneath {
    /// QUIC, where the world speaks HTTP/3.
    Quic,
    /// A stream of bytes such as TCP, where it speaks HTTP/2.
    Stream,
}

impl Beneath {
    const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Quic => b"h3",
            Self::Stream => b"h2",
        }
    }
}

/// The configurations of an endpoint could not be made.
#[derive(Debug)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the transport key cannot be used: {}", self.0)
    }
}

impl std::error::Error for TlsError {}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

/// A device's transport key, ready for TLS.
#[derive(Clone)]
pub struct TransportKey {
    certified: Arc<CertifiedKey>,
}

impl fmt::Debug for TransportKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransportKey(secret)")
    }
}

impl TransportKey {
    /// Takes the 32-byte Ed25519 seed and its public key.
    ///
    /// # Errors
    /// The cryptographic provider refuses the key.
    pub fn new(seed: &[u8; 32], public: &[u8; 32]) -> Result<Self, TlsError> {
        let pkcs8 = Zeroizing::new([&PKCS8_PREFIX[..], seed].concat());
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_slice()));
        let key = aws_lc_rs::default_provider().key_provider.load_private_key(private.clone_key())?;
        let spki = CertificateDer::from([&SPKI_PREFIX[..], public].concat());
        Ok(Self { certified: Arc::new(CertifiedKey::new(vec![spki], key)) })
    }

    /// The TLS configuration of the side that dials.
    ///
    /// # Errors
    /// The provider lacks TLS 1.3.
    pub fn client(&self, beneath: Beneath) -> Result<rustls::ClientConfig, TlsError> {
        self.client_of(beneath, None)
    }

    /// The same; whoever answers must show one of these keys, and sees nothing of this device's otherwise.
    ///
    /// # Errors
    /// As [`TransportKey::client`].
    pub fn client_to(&self, keys: &[[u8; 32]], beneath: Beneath) -> Result<rustls::ClientConfig, TlsError> {
        self.client_of(beneath, Some(keys.to_vec()))
    }

    fn client_of(
        &self,
        beneath: Beneath,
        only: Option<Vec<[u8; 32]>>,
    ) -> Result<rustls::ClientConfig, TlsError> {
        let provider = provider();
        let schemes = provider.signature_verification_algorithms;
        let verifier = Arc::new(AnyEd25519 { schemes, only });
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                self.certified.clone(),
            )));
        config.alpn_protocols = vec![beneath.alpn().to_vec()];
        config.enable_sni = false;
        config.enable_early_data = false;
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// The TLS configuration of the side that listens.
    ///
    /// # Errors
    /// The provider lacks TLS 1.3.
    pub fn server(&self, beneath: Beneath) -> Result<rustls::ServerConfig, TlsError> {
        let provider = provider();
        let schemes = provider.signature_verification_algorithms;
        let verifier = Arc::new(AnyEd25519 { schemes, only: None });
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.certified.clone())));
        config.alpn_protocols = vec![beneath.alpn().to_vec()];
        config.max_early_data_size = 0;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }
}

/// The Ed25519 key in what TLS calls the peer's certificate, if it is one.
pub fn raw_key(certificates: &[CertificateDer<'_>]) -> Option<[u8; 32]> {
    let [only] = certificates else { return None };
    only.as_ref().strip_prefix(&SPKI_PREFIX)?.try_into().ok()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    })
}

/// Accepts any Ed25519 key that its bearer proves to hold; the session judges whose it is. Or some keys only.
#[derive(Debug)]
struct AnyEd25519 {
    schemes: WebPkiSupportedAlgorithms,
    only: Option<Vec<[u8; 32]>>,
}

impl AnyEd25519 {
    fn check(&self, end_entity: &CertificateDer<'_>) -> Result<(), Error> {
        let key = raw_key(std::slice::from_ref(end_entity))
            .ok_or_else(|| Error::from(PeerIncompatible::IncorrectCertificateTypeExtension))?;
        match &self.only {
            Some(only) if !only.contains(&key) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(()),
        }
    }

    fn verify(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.schemes)
    }
}

fn only_tls13() -> Error {
    Error::from(PeerIncompatible::Tls12NotOffered)
}

impl ServerCertVerifier for AnyEd25519 {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyEd25519 {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConnection, NamedGroup, ServerConnection};

    use super::*;

    fn key(seed: u8) -> TransportKey {
        let public = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
        TransportKey::new(&[seed; 32], &public).unwrap()
    }

    /// A handshake in memory, over TLS instead of QUIC: the configurations are the same.
    fn shake(
        client: rustls::ClientConfig,
        server: rustls::ServerConfig,
    ) -> Result<(ClientConnection, ServerConnection), Error> {
        let name = ServerName::try_from("peer.invalid").unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name)?;
        let mut server = ServerConnection::new(Arc::new(server))?;
        for _ in 0..8 {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok((client, server))
    }

    #[test]
    fn the_handshake_is_post_quantum_and_says_nothing_of_us() {
        for (beneath, name) in [(Beneath::Quic, &b"h3"[..]), (Beneath::Stream, b"h2")] {
            says_nothing_of_us(beneath, name);
        }
    }

    fn says_nothing_of_us(beneath: Beneath, name: &[u8]) {
        let (client, server) =
            shake(key(1).client(beneath).unwrap(), key(2).server(beneath).unwrap()).unwrap();
        for group in [client.negotiated_key_exchange_group(), server.negotiated_key_exchange_group()] {
            assert_eq!(group.map(|group| group.name()), Some(NamedGroup::X25519MLKEM768));
        }
        assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(client.alpn_protocol(), Some(name));
        assert_eq!(server.server_name(), None);
        assert_eq!(client.tls13_tickets_received(), 0);
        assert!(raw_key(client.peer_certificates().unwrap()).is_some());
        assert!(raw_key(server.peer_certificates().unwrap()).is_some());
    }

    /// The same with QUIC's own handshake, as quinn drives it.
    #[test]
    fn over_quic_the_handshake_is_post_quantum_with_raw_keys_both_ways() {
        use rustls::quic::{ClientConnection, ServerConnection, Version};
        let name = ServerName::try_from("peer.invalid").unwrap();
        let (client, server) = (key(1).client(Beneath::Quic).unwrap(), key(2).server(Beneath::Quic).unwrap());
        assert!(!client.enable_early_data && !client.enable_sni && client.alpn_protocols == [b"h3"]);
        assert_eq!((server.max_early_data_size, server.send_tls13_tickets), (0, 0));
        let mut client = ClientConnection::new(Arc::new(client), Version::V1, name, vec![1]).unwrap();
        let mut server = ServerConnection::new(Arc::new(server), Version::V1, vec![1]).unwrap();
        for _ in 0..8 {
            for _ in 0..4 {
                let mut wire = Vec::new();
                client.write_hs(&mut wire);
                server.read_hs(&wire).unwrap();
                let mut wire = Vec::new();
                server.write_hs(&mut wire);
                client.read_hs(&wire).unwrap();
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        for group in [client.negotiated_key_exchange_group(), server.negotiated_key_exchange_group()] {
            assert_eq!(group.map(|group| group.name()), Some(NamedGroup::X25519MLKEM768));
        }
        let theirs =
            |seed| Some(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes());
        assert_eq!(client.peer_certificates().and_then(raw_key), theirs(2));
        assert_eq!(server.peer_certificates().and_then(raw_key), theirs(1));
        assert!(client.zero_rtt_keys().is_none() && server.zero_rtt_keys().is_none());
        assert_eq!(client.tls13_tickets_received(), 0);
    }

    #[test]
    fn whoever_is_called_for_some_keys_shows_its_own_to_nobody_else() {
        let [relay, other] =
            [2, 3].map(|seed| ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes());
        let server = || key(2).server(Beneath::Quic).unwrap();
        assert!(shake(key(1).client_to(&[other, relay], Beneath::Quic).unwrap(), server()).is_ok());
        let name = ServerName::try_from("peer.invalid").unwrap();
        let wary = Arc::new(key(1).client_to(&[other], Beneath::Quic).unwrap());
        let mut client = ClientConnection::new(wary, name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server())).unwrap();
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        assert!(client.process_new_packets().is_err());
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        assert!(server.process_new_packets().is_err() && server.peer_certificates().is_none());
    }

    #[test]
    fn a_peer_without_the_post_quantum_group_or_without_a_key_is_refused() {
        let with = |groups, resolver| {
            let provider = Arc::new(CryptoProvider { kx_groups: groups, ..aws_lc_rs::default_provider() });
            let schemes = provider.signature_verification_algorithms;
            let verifier = Arc::new(AnyEd25519 { schemes, only: None });
            let builder = rustls::ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(verifier);
            let mut config = match resolver {
                Some(resolver) => builder.with_client_cert_resolver(resolver),
                None => builder.with_no_client_auth(),
            };
            config.alpn_protocols = vec![Beneath::Quic.alpn().to_vec()];
            config
        };
        let resolver = || Arc::new(AlwaysResolvesClientRawPublicKeys::new(key(1).certified));
        let good = aws_lc_rs::kx_group::X25519MLKEM768;
        let old = aws_lc_rs::kx_group::X25519;
        let server = || key(2).server(Beneath::Quic).unwrap();
        assert!(shake(with(vec![good], Some(resolver())), server()).is_ok());
        assert!(shake(with(vec![old], Some(resolver())), server()).is_err());
        assert!(shake(with(vec![good], None), server()).is_err());
    }
}
