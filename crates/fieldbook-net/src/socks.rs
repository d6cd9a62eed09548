//! TCP through a SOCKS5 proxy (RFC 1928), as Tor, `ssh -D` and many others offer.
//!
//! **Names go to the proxy and are never looked up here**: a look-up would tell this network whom the
//! device wants to reach, and only the proxy knows `.onion`. The proxy itself is named by its address,
//! for the same reason. Where the proxy takes a user name and a password (RFC 1929), it gets random ones,
//! new for every connection: Tor then builds a circuit for each, so that no exit sees two of them together.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::tcp;

const VERSION: u8 = 5;
const NO_PASSWORD: u8 = 0;
const PASSWORD: u8 = 2;
/// The version of the exchange of name and password.
const PASSWORD_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const TYPE_V4: u8 = 1;
const TYPE_NAME: u8 = 3;
const TYPE_V6: u8 = 4;
/// Longest host name: its length is one byte.
const NAME_MAX: usize = 255;
/// Bytes of a random user name, and of a password, before they are written in hexadecimal.
const RANDOM: usize = 16;

/// Where a SOCKS5 proxy listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxy {
    address: SocketAddr,
}

/// What is not a proxy's address, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoProxy(&'static str);

impl fmt::Display for NoProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NoProxy {}

impl FromStr for Proxy {
    type Err = NoProxy;

    /// `socks5://ADDRESS:PORT`, where the address is a number or `localhost`.
    fn from_str(text: &str) -> Result<Self, NoProxy> {
        let rest = text.strip_prefix("socks5://").or_else(|| text.strip_prefix("socks5h://"));
        let rest = rest.ok_or(NoProxy("a proxy is written socks5://ADDRESS:PORT"))?;
        if rest.contains('@') {
            return Err(NoProxy("a proxy that wants a name and a password of yours cannot be used"));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let address = match rest.strip_prefix("localhost:") {
            Some(port) => port.parse().ok().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            None => rest.parse().ok(),
        };
        match address {
            Some(address) if address.port() > 0 => Ok(Self { address }),
            _ => Err(NoProxy(
                "a proxy is named by a number, so that no name is looked up: socks5://127.0.0.1:9050",
            )),
        }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socks5://{}", self.address)
    }
}

/// Why there is no connection through the proxy.
#[derive(Debug)]
pub enum SocksError {
    /// The target is no `HOST:PORT`, or its name is too long.
    Target,
    /// The proxy cannot be reached.
    Unreachable(io::Error),
    /// It broke off, or did not answer in time.
    Broke(io::Error),
    /// Who listens there does not speak SOCKS5.
    NotSocks,
    /// It wants a real name and password.
    WantsPassword,
    /// It tried, and says why it could not: the code of RFC 1928.
    Refused(u8),
}

impl fmt::Display for SocksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target => f.write_str("the address cannot be understood"),
            Self::Unreachable(error) => write!(f, "the proxy cannot be reached: {error}"),
            Self::Broke(error) => write!(f, "the proxy broke off: {error}"),
            Self::NotSocks => f.write_str("what listens at the proxy's address is no SOCKS5 proxy"),
            Self::WantsPassword => {
                f.write_str("the proxy wants a name and a password, which Fieldbook does not give")
            }
            Self::Refused(code) => write!(
                f,
                "the proxy {}",
                match code {
                    1 => "could not connect",
                    2 => "does not allow this connection",
                    3 => "finds no network there",
                    4 => "finds no such host",
                    5 => "found nobody listening there",
                    6 => "waited in vain for an answer",
                    _ => "does not make such connections",
                }
            ),
        }
    }
}

impl std::error::Error for SocksError {}

/// Connects to `target`, a `HOST:PORT`, through the proxy, within `patience`.
///
/// # Errors
/// [`SocksError`].
pub async fn dial(proxy: Proxy, target: &str, patience: Duration) -> Result<TcpStream, SocksError> {
    let request = request(target).ok_or(SocksError::Target)?;
    let mut stream = tcp::dial(proxy.address, patience).await.map_err(SocksError::Unreachable)?;
    timeout(patience, ask(&mut stream, &request))
        .await
        .map_err(|_| SocksError::Broke(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))??;
    Ok(stream)
}

/// The request to connect to a `HOST:PORT`.
fn request(target: &str) -> Option<Vec<u8>> {
    let (host, port) = target.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let mut request = vec![VERSION, CONNECT, 0];
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare.unwrap_or(host).parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if bare.is_none() => {
            request.push(TYPE_V4);
            request.extend(address.octets());
        }
        Ok(IpAddr::V6(address)) if bare.is_some() => {
            request.push(TYPE_V6);
            request.extend(address.octets());
        }
        Err(_) if bare.is_none() && (1..=NAME_MAX).contains(&host.len()) && !host.contains(':') => {
            request.push(TYPE_NAME);
            request.push(u8::try_from(host.len()).ok()?);
            request.extend(host.as_bytes());
        }
        _ => return None,
    }
    request.extend(port.to_be_bytes());
    Some(request)
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &[u8]) -> Result<(), SocksError> {
    say(stream, &[VERSION, 2, NO_PASSWORD, PASSWORD]).await?;
    match hear::<2, _>(stream).await? {
        [VERSION, NO_PASSWORD] => {}
        [VERSION, PASSWORD] => {
            say(stream, &random_login()?).await?;
            match hear::<2, _>(stream).await? {
                [_, 0] => {}
                _ => return Err(SocksError::WantsPassword),
            }
        }
        [VERSION, 0xff] => return Err(SocksError::WantsPassword),
        _ => return Err(SocksError::NotSocks),
    }
    say(stream, request).await?;
    let [version, code, _, kind] = hear::<4, _>(stream).await?;
    if version != VERSION {
        return Err(SocksError::NotSocks);
    }
    if code != 0 {
        return Err(SocksError::Refused(code));
    }
    // The address that the proxy connects from is of no use, but it must be read to its end, and no further:
    // what follows is the other device's.
    let rest = match kind {
        TYPE_V4 => 4,
        TYPE_V6 => 16,
        TYPE_NAME => usize::from(hear::<1, _>(stream).await?[0]),
        _ => return Err(SocksError::NotSocks),
    };
    let mut unused = [0; NAME_MAX + 2];
    stream.read_exact(&mut unused[..rest + 2]).await.map_err(SocksError::Broke)?;
    Ok(())
}

fn random_login() -> Result<Vec<u8>, SocksError> {
    let mut random = [0; 2 * RANDOM];
    aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut random)
        .map_err(|_| SocksError::Broke(io::Error::other("no random bytes")))?;
    let mut login = vec![PASSWORD_VERSION];
    for half in random.chunks(RANDOM) {
        let word: String = half.iter().map(|byte| format!("{byte:02x}")).collect();
        login.push(u8::try_from(word.len()).map_err(|_| SocksError::Target)?);
        login.extend(word.as_bytes());
    }
    Ok(login)
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), SocksError> {
    stream.write_all(bytes).await.map_err(SocksError::Broke)?;
    stream.flush().await.map_err(SocksError::Broke)
}

async fn hear<const N: usize, S: AsyncRead + Unpin>(stream: &mut S) -> Result<[u8; N], SocksError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(SocksError::Broke)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[test]
    fn a_proxy_is_a_number_and_never_a_name_to_look_up() {
        for good in ["socks5://127.0.0.1:9050", "socks5h://[::1]:9050", "socks5://localhost:1080/"] {
            assert!(good.parse::<Proxy>().is_ok(), "{good}");
        }
        assert_eq!("socks5://localhost:1".parse::<Proxy>().unwrap().to_string(), "socks5://127.0.0.1:1");
        for bad in [
            "",
            "127.0.0.1:9050",
            "http://127.0.0.1:1",
            "socks5://proxy.example:1",
            "socks5://127.0.0.1",
            "socks5://127.0.0.1:0",
            "socks5://a:b@127.0.0.1:1",
            "socks4://127.0.0.1:1",
        ] {
            assert!(bad.parse::<Proxy>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_go_to_the_proxy_as_names_and_numbers_as_numbers() {
        assert_eq!(request("192.0.2.7:4040").unwrap(), [5, 1, 0, 1, 192, 0, 2, 7, 0x0f, 0xc8]);
        let onion = format!("{}.onion:80", "a".repeat(56));
        let named = request(&onion).unwrap();
        assert_eq!(named[..5], [5, 1, 0, 3, 62]);
        assert_eq!(named[5..67], onion.as_bytes()[..62]);
        assert_eq!(named[67..], [0, 80]);
        assert_eq!(request("[2001:db8::1]:1").unwrap()[3], 4);
        let long = "a".repeat(256);
        for bad in
            ["", "host", ":1", "host:", "host:99999", "2001:db8::1:1", "[name]:1", &format!("{long}:1")]
        {
            assert!(request(bad).is_none(), "{bad}");
        }
    }

    /// What the proxy says, and what comes of it; then what it heard.
    async fn talk(says: &[u8]) -> (Result<(), SocksError>, Vec<u8>, Vec<u8>) {
        let (mut near, mut far) = duplex(4_096);
        far.write_all(says).await.unwrap();
        far.shutdown().await.unwrap();
        let outcome = ask(&mut near, &request("desk.example:4040").unwrap()).await;
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.unwrap();
        drop(near);
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        (outcome, heard, rest)
    }

    #[tokio::test]
    async fn each_connection_logs_in_as_somebody_new_and_reads_no_byte_too_many() {
        let says = b"\x05\x02\x01\x00\x05\x00\x00\x03\x04abcd\x00\x01first bytes of the other device";
        let (first, first_heard, rest) = talk(says).await;
        first.unwrap();
        assert_eq!(rest, b"first bytes of the other device");
        let (_, second_heard, _) = talk(says).await;
        // Greeting, login of 1 + 33 + 33 bytes, request.
        assert_eq!(first_heard.len(), 4 + 67 + 5 + 12 + 2);
        assert_eq!(first_heard[..6], second_heard[..6]);
        assert_ne!(first_heard[6..71], second_heard[6..71]);
        assert_eq!(first_heard[71..], second_heard[71..]);
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_or_is_none_is_told_apart() {
        assert!(matches!(talk(b"\x05\x00\x05\x05\x00\x01\0\0\0\0\0\0").await.0, Err(SocksError::Refused(5))));
        assert!(matches!(talk(b"\x05\xff").await.0, Err(SocksError::WantsPassword)));
        assert!(matches!(talk(b"\x05\x02\x01\x01").await.0, Err(SocksError::WantsPassword)));
        assert!(matches!(talk(b"HTTP/1.1 400").await.0, Err(SocksError::NotSocks)));
        assert!(matches!(talk(b"\x05").await.0, Err(SocksError::Broke(_))));
        assert!(talk(b"\x05\x00\x05\x00\x00\x01\0\0\0\0\0\0").await.0.is_ok());
    }
}
