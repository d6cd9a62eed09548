//! Which bucket, and by which credentials.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use zeroize::Zeroizing;

/// Bytes of a file with credentials.
pub const CREDENTIALS_MAX: usize = 16 * 1024;
/// Before a connection that is not established is given up.
const CONNECT: Duration = Duration::from_secs(5);
/// Before a request without an answer is given up.
const ANSWER: Duration = Duration::from_secs(25);

/// Where a bucket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketConfig {
    /// The server, `https://HOST[:PORT]`; with `http://` only on this machine.
    pub endpoint: String,
    /// The region, as the provider calls it; many take `us-east-1` or `auto`.
    pub region: String,
    /// The bucket's name.
    pub bucket: String,
    /// Below which everything lies; may be empty.
    pub prefix: String,
}

/// What the provider knows the relay by. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct Credentials {
    access_key_id: Zeroizing<String>,
    secret_access_key: Zeroizing<String>,
    session_token: Option<Zeroizing<String>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(secret)")
    }
}

/// Why a bucket cannot be named so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigError {
    /// The endpoint is no `https://HOST[:PORT]`.
    Endpoint,
    /// The endpoint is `http://` and not on this machine.
    Unencrypted,
    /// The bucket's name, the region or the prefix has a character that cannot stand there.
    Name,
    /// The credentials' file does not have a key id and a secret.
    Credentials,
    /// The client cannot be made.
    Client,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Endpoint => "the endpoint is not an address of the form https://HOST or https://HOST:PORT",
            Self::Unencrypted => {
                "the endpoint begins with http:// and is not on this machine: use https://, so that nobody on \
                 the way sees who connects with which credentials"
            }
            Self::Name => "the bucket, the region or the prefix has a character that cannot stand there",
            Self::Credentials => {
                "the file with the credentials has no lines \"aws_access_key_id = …\" and \
                 \"aws_secret_access_key = …\""
            }
            Self::Client => "the client of the bucket cannot be made",
        })
    }
}

impl std::error::Error for ConfigError {}

impl Credentials {
    /// Reads the text of a file in the form that the tools of S3 providers write: `aws_access_key_id = …`,
    /// `aws_secret_access_key = …` and perhaps `aws_session_token = …`, one a line.
    ///
    /// # Errors
    /// [`ConfigError::Credentials`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let value = |name: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once('=')?;
                let value = value.trim();
                let good =
                    key.trim() == name && !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic());
                good.then(|| Zeroizing::new(value.to_owned()))
            })
        };
        Ok(Self {
            access_key_id: value("aws_access_key_id").ok_or(ConfigError::Credentials)?,
            secret_access_key: value("aws_secret_access_key").ok_or(ConfigError::Credentials)?,
            session_token: value("aws_session_token"),
        })
    }
}

impl BucketConfig {
    /// Whether everything has a form that it can have.
    ///
    /// # Errors
    /// What has not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let (host, encrypted) = match self.endpoint.split_once("://") {
            Some(("https", host)) => (host, true),
            Some(("http", host)) => (host, false),
            _ => return Err(ConfigError::Endpoint),
        };
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b));
        if host.is_empty() || !plain(host) {
            return Err(ConfigError::Endpoint);
        }
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() => name,
            _ => host,
        };
        if !encrypted && !["127.0.0.1", "[::1]", "localhost"].contains(&name) {
            return Err(ConfigError::Unencrypted);
        }
        let word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
        let prefix = self.prefix.is_empty()
            || self
                .prefix
                .split('/')
                .all(|part| !part.is_empty() && word(part) && part != "." && part != "..");
        if self.bucket.is_empty() || !word(&self.bucket) || !word(&self.region) || !prefix {
            return Err(ConfigError::Name);
        }
        Ok(())
    }

    /// A client. Nothing is sent yet.
    ///
    /// # Errors
    /// As [`BucketConfig::check`], and [`ConfigError::Client`].
    pub fn client(&self, credentials: &Credentials) -> Result<Arc<dyn ObjectStore>, ConfigError> {
        self.check()?;
        // Trying again is done in `objects`, where it is known what an unknown outcome means.
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let plain = self.endpoint.starts_with("http://");
        let options =
            ClientOptions::new().with_allow_http(plain).with_connect_timeout(CONNECT).with_timeout(ANSWER);
        let mut builder = AmazonS3Builder::new()
            .with_endpoint(&self.endpoint)
            .with_region(&self.region)
            .with_bucket_name(&self.bucket)
            .with_virtual_hosted_style_request(false)
            .with_access_key_id(credentials.access_key_id.as_str())
            .with_secret_access_key(credentials.secret_access_key.as_str())
            .with_client_options(options)
            .with_retry(retry);
        if let Some(token) = &credentials.session_token {
            builder = builder.with_token(token.as_str());
        }
        Ok(Arc::new(builder.build().map_err(|_| ConfigError::Client)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoint: &str, prefix: &str) -> Result<(), ConfigError> {
        let [endpoint, region, bucket, prefix] = [endpoint, "auto", "relay-1", prefix].map(str::to_owned);
        BucketConfig { endpoint, region, bucket, prefix }.check()
    }

    #[test]
    fn only_this_machine_is_spoken_to_without_encryption() {
        for good in
            ["https://s3.example.org", "https://192.0.2.1:9000", "http://127.0.0.1:9000", "http://[::1]:1"]
        {
            assert_eq!(config(good, ""), Ok(()), "{good}");
        }
        for bad in ["http://s3.example.org", "http://127.0.0.1.example.org", "http://192.0.2.1:9000"] {
            assert_eq!(config(bad, ""), Err(ConfigError::Unencrypted), "{bad}");
        }
        for bad in ["", "s3.example.org", "ftp://a", "https://", "https://a/b", "https://user@a"] {
            assert_eq!(config(bad, ""), Err(ConfigError::Endpoint), "{bad}");
        }
        assert_eq!(config("https://a", "team/relay"), Ok(()));
        for bad in ["/a", "a/", "a//b", "a/../b", "a b"] {
            assert_eq!(config("https://a", bad), Err(ConfigError::Name), "{bad}");
        }
    }

    #[test]
    fn credentials_are_read_and_never_shown() {
        let text = "# a comment\n[default]\naws_access_key_id = AK\naws_secret_access_key=s3cr=t/x+\n";
        let read = Credentials::parse(text).unwrap();
        assert_eq!((read.access_key_id.as_str(), read.secret_access_key.as_str()), ("AK", "s3cr=t/x+"));
        assert!(!format!("{read:?}").contains("s3cr"));
        assert!(read.session_token.is_none());
        assert_eq!(Credentials::parse("aws_access_key_id = a\n").err(), Some(ConfigError::Credentials));
        assert_eq!(
            Credentials::parse("aws_access_key_id = a\naws_secret_access_key = b\r\u{1}c").err(),
            Some(ConfigError::Credentials)
        );
    }
}
