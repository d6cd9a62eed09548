//! A relay's depot in a bucket: the file that says where, and what the network process is given of it. How the
//! depot of the vault and the one in the bucket keep each other up to date is in `in_step`.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fieldbook_bucket::{BucketConfig, BucketDepot, CREDENTIALS_MAX, Credentials};
use fieldbook_depot::{DepotError, DepotKey};
use fieldbook_proto::DepotId;
use fieldbook_vault::Layout;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::agent::wire::Hex;
use crate::error::{Failure, Kind};
use crate::sanitise::line;

/// What a name in a systemd credentials directory begins with.
const SYSTEMD: &str = "systemd:";
/// What a service finds the bucket's file as, among its credentials.
pub const SERVICE_FILE: &str = "bucket.json";
/// What it finds the passphrase as.
const PASSPHRASE: &str = "passphrase";

/// The file that `--bucket` names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    endpoint: String,
    region: String,
    bucket: String,
    #[serde(default)]
    prefix: String,
    /// The file with the credentials, or `systemd:NAME`.
    credentials: String,
    /// The file with the key, or `systemd:NAME`.
    key: String,
}

impl Written {
    fn of(path: &Path) -> Result<Self, Failure> {
        let name = line(&path.display().to_string());
        let text = std::fs::read_to_string(path).map_err(Failure::input(&name))?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::usage("bad-bucket", format!("{name} does not name a bucket: {error}"))
                .hint("the handbook's page \"A relay in a bucket\" shows what stands in it")
        })
    }
}

/// What the network process is given.
#[derive(Debug, Serialize, Deserialize)]
pub struct Bucket {
    endpoint: String,
    region: String,
    bucket: String,
    prefix: String,
    credentials: Hex,
    key: Hex,
    /// Nothing may be there yet, and a depot is begun.
    new: bool,
}

/// Reads the file that names a bucket, and those that it names. With `new`, a key is made where there is none.
///
/// # Errors
/// One of them cannot be read, can be read by others, or is not understood.
pub fn read(path: &Path, new: bool) -> Result<Bucket, Failure> {
    let written = Written::of(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let key_path = place(folder, &written.key)?;
    if new && !key_path.exists() {
        make_key(&key_path)?;
    }
    let key = secret(&key_path, 256)?;
    let key = std::str::from_utf8(&key).ok().map(str::trim).and_then(parse_key).ok_or_else(|| {
        Failure::usage("bad-bucket-key", "the bucket's key is not a line of 64 hexadecimal digits")
    })?;
    let credentials = secret(&place(folder, &written.credentials)?, CREDENTIALS_MAX)?;
    let Written { endpoint, region, bucket, prefix, .. } = written;
    let read = Bucket { endpoint, region, bucket, prefix, credentials: Hex(credentials), key, new };
    // Before anything is started.
    read.client()?;
    Ok(read)
}

/// The files that a service must be given for this bucket, with the names by which it looks for them: the file
/// itself, and those that it names.
///
/// # Errors
/// It is not understood, or names files that do not lie beside it.
pub fn beside(path: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let written = Written::of(path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut files = vec![(SERVICE_FILE.to_owned(), path.to_owned())];
    for name in [written.credentials, written.key] {
        let name = name.strip_prefix(SYSTEMD).unwrap_or(&name).to_owned();
        let taken = name == PASSPHRASE || files.iter().any(|(taken, _)| *taken == name);
        if taken || name.is_empty() || name.starts_with('.') || name.contains(['/', ':']) {
            let what = format!("{} cannot be given to a service by its name", line(&name));
            return Err(Failure::usage("bad-bucket", what)
                .hint("in the bucket's file, name two files that lie beside it, such as \"credentials\" and \"key\""));
        }
        let file = folder.join(&name);
        files.push((name, file));
    }
    Ok(files)
}

fn place(folder: &Path, text: &str) -> Result<PathBuf, Failure> {
    let Some(name) = text.strip_prefix(SYSTEMD) else { return Ok(folder.join(text)) };
    let there = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|_| !name.contains('/'));
    there.map(|there| Path::new(&there).join(name)).ok_or_else(|| {
        Failure::usage("bad-bucket", "systemd has given this process no credentials of this name")
            .hint("LoadCredential= in the unit names them")
    })
}

/// A file that nobody else may read. What systemd gives lies in a directory that nobody else can enter.
fn secret(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let name = line(&path.display().to_string());
    let file = File::open(path).map_err(Failure::input(&name))?;
    let mode = file.metadata().map_err(Failure::input(&name))?.mode();
    let systemd = std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|there| path.starts_with(there));
    if mode & 0o077 != 0 && !systemd {
        return Err(Failure::usage("readable-by-others", format!("{name} can be read by others"))
            .hint(format!("chmod 600 {name}")));
    }
    let mut content = Zeroizing::new(Vec::with_capacity(limit + 1));
    file.take(limit as u64 + 1).read_to_end(&mut content).map_err(Failure::input(&name))?;
    if content.len() > limit {
        return Err(Failure::usage("input-unreadable", format!("{name} is too long")));
    }
    Ok(content)
}

fn make_key(path: &Path) -> Result<(), Failure> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *key)
        .map_err(|_| Failure::failed("randomness", "the system gives no random bytes"))?;
    let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = Zeroizing::new(text + "\n");
    let doing = "the bucket's key cannot be written";
    let made = File::options().write(true).create_new(true).mode(0o600).open(path);
    let mut file = made.map_err(Failure::io(doing))?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(Failure::io(doing))?;
    file.sync_all().map_err(Failure::io(doing))
}

fn parse_key(text: &str) -> Option<Hex> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = Zeroizing::new(digits.filter(|digits| digits.len() == 64)?);
    let bytes = digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok());
    bytes.collect::<Option<Vec<u8>>>().map(Hex::new)
}

/// The directory in a vault for the files that a process with a bucket makes and removes. It may read what is there,
/// and nothing else that it did not have open before.
///
/// # Errors
/// It cannot be made.
pub fn work(vault: &Path) -> Result<PathBuf, Failure> {
    let work = Layout::new(vault).work();
    match std::fs::DirBuilder::new().mode(0o700).create(&work) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Failure::io("the relay's directory cannot be made")(error))
        }
        _ => Ok(work),
    }
}

impl Bucket {
    fn client(&self) -> Result<Arc<dyn fieldbook_bucket::ObjectStore>, Failure> {
        let bad = |error: fieldbook_bucket::ConfigError| Failure::usage("bad-bucket", error.to_string());
        let text = std::str::from_utf8(&self.credentials.0).unwrap_or_default();
        let config = BucketConfig {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
        };
        config.client(&Credentials::parse(text).map_err(bad)?).map_err(bad)
    }

    /// Opens the depot in the bucket, or begins it.
    ///
    /// # Errors
    /// There is none, or one where none should be; it is away; it is another's.
    pub fn open(&self, vault: &Path) -> Result<BucketDepot, Failure> {
        let folder = &work(vault)?;
        let bytes = self.key.0.as_slice().try_into();
        let key = bytes
            .map(DepotKey::new)
            .map_err(|_| Failure::failed("internal", "the bucket's key has another length"))?;
        let store = self.client()?;
        let opened = if self.new {
            let mut name = [0; DepotId::LEN];
            getrandom::fill(&mut name)
                .map_err(|_| Failure::failed("randomness", "the system gives no random bytes"))?;
            BucketDepot::create(store, &self.prefix, &key, folder, DepotId::from_bytes(name))
        } else {
            BucketDepot::open(store, &self.prefix, &key, folder)
        };
        opened.map_err(|error| {
            let message = |what: &str| Failure::new(Kind::Failed, "bucket", what.to_owned());
            match error {
                DepotError::Missing => message("there is no relay's depot in this bucket")
                    .hint("is it the right bucket and prefix? `--new-bucket` begins one in an empty bucket"),
                DepotError::AlreadyExists => message("there is a relay's depot in this bucket already")
                    .hint("leave out `--new-bucket` to use it"),
                DepotError::WrongKey => message("the bucket's key does not open the depot in this bucket")
                    .hint("copy the key of the machine that began it"),
                other => fieldbook_daemon::DaemonError::Depot(other).into(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn secrets_are_read_from_files_that_nobody_else_reads() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let config = |endpoint: &str| {
            let text = format!(
                r#"{{"endpoint":"{endpoint}","region":"auto","bucket":"b","credentials":"cred","key":"key"}}"#
            );
            write(&at("bucket.json"), &text, 0o644);
        };
        config("https://s3.example.org");
        write(&at("cred"), "aws_access_key_id = a\naws_secret_access_key = hush\n", 0o600);
        assert_eq!(read(&at("bucket.json"), false).unwrap_err().code, "input-unreadable", "no key yet");
        let made = read(&at("bucket.json"), true).unwrap();
        assert_eq!(std::fs::metadata(at("key")).unwrap().mode() & 0o777, 0o600);
        let again = read(&at("bucket.json"), true).unwrap();
        assert_eq!(made.key, again.key, "a key is never written over");
        assert!(again.new);
        for name in ["cred", "key"] {
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o640)).unwrap();
            assert_eq!(read(&at("bucket.json"), false).unwrap_err().code, "readable-by-others");
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        config("http://s3.example.org");
        assert_eq!(read(&at("bucket.json"), false).unwrap_err().code, "bad-bucket");
        write(&at("bucket.json"), "{}", 0o600);
        assert_eq!(read(&at("bucket.json"), false).unwrap_err().code, "bad-bucket");
    }
}
