//! Where the private sockets of a vault are: a directory that only its owner may enter, outside the
//! vault, whose name tells nothing of it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::error::{Failure, Kind};

/// Longest path a Unix socket can have, its closing zero not counted.
const SOCKET_PATH_MAX: usize = 107;

/// What the name of the daemon's directory has at its end.
const DAEMON: &str = "d";

/// The sockets of one vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    dir: PathBuf,
    daemon_dir: PathBuf,
}

impl Place {
    /// The place for the vault in `vault`, which must exist. Nothing is created.
    ///
    /// # Errors
    /// The directory cannot be found.
    pub fn of(vault: &Path) -> Result<Self, Failure> {
        let vault = fs::canonicalize(vault).map_err(Failure::io("the vault's directory cannot be found"))?;
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        Ok(Self::in_directory(directory(&vault, runtime.as_deref())))
    }

    /// The directory of the agent's socket.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// The directory of the daemon's. Another one: what speaks to the network must not be able to put its socket in the
    /// agent's place.
    pub fn daemon_directory(&self) -> &Path {
        &self.daemon_dir
    }

    fn in_directory(dir: PathBuf) -> Self {
        let mut daemon_dir = dir.as_os_str().to_owned();
        daemon_dir.push(DAEMON);
        Self { dir, daemon_dir: daemon_dir.into() }
    }

    /// The agent's socket.
    pub fn agent(&self) -> PathBuf {
        self.dir.join("agent")
    }

    /// The daemon's control socket.
    pub fn daemon(&self) -> PathBuf {
        self.daemon_dir.join("daemon")
    }

    /// Whether the agent's directory is there and ours alone; false when it is not there.
    ///
    /// # Errors
    /// Somebody else made it, or others may enter it: nothing in it is trusted.
    pub fn exists(&self) -> Result<bool, Failure> {
        is_ours(&self.dir)
    }

    /// The same of the daemon's.
    ///
    /// # Errors
    /// As [`Place::exists`].
    pub fn daemon_exists(&self) -> Result<bool, Failure> {
        is_ours(&self.daemon_dir)
    }

    /// Makes both directories if they are not there.
    ///
    /// # Errors
    /// As [`Place::exists`], or one cannot be made.
    pub fn make(&self) -> Result<(), Failure> {
        for dir in [&self.dir, &self.daemon_dir] {
            match DirBuilder::new().mode(0o700).create(dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Failure::io("the directory for sockets cannot be made")(error));
                }
                _ => is_ours(dir).map(drop)?,
            }
        }
        Ok(())
    }
}

fn is_ours(dir: &Path) -> Result<bool, Failure> {
    let metadata = match fs::symlink_metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Failure::io("the directory for sockets cannot be read")(error)),
    };
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if metadata.is_dir() && ours && metadata.mode() & 0o077 == 0 {
        return Ok(true);
    }
    Err(Failure::new(
        Kind::Failed,
        "runtime-directory-unsafe",
        format!("{} is not a directory of yours that is closed to others", dir.display()),
    )
    .hint("remove it, or set XDG_RUNTIME_DIR to a directory of your own"))
}

fn directory(vault: &Path, runtime: Option<&Path>) -> PathBuf {
    let hash = blake3::hash(vault.as_os_str().as_encoded_bytes()).to_hex();
    let hash = &hash[..16];
    let inside_runtime = runtime.filter(|dir| dir.is_absolute()).map(|dir| dir.join(format!("fb-{hash}")));
    match inside_runtime {
        Some(dir) if dir.as_os_str().len() + "d/daemon".len() <= SOCKET_PATH_MAX => dir,
        _ => PathBuf::from(format!("/tmp/fb-{}-{hash}", rustix::process::geteuid().as_raw())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn each_vault_has_its_own_place_and_a_long_runtime_directory_is_not_used() {
        let runtime = Path::new("/run/user/1000");
        let a = directory(Path::new("/a"), Some(runtime));
        assert!(a.starts_with(runtime));
        assert_ne!(a, directory(Path::new("/b"), Some(runtime)));
        let long = PathBuf::from(format!("/{}", "x".repeat(SOCKET_PATH_MAX)));
        assert!(directory(Path::new("/a"), Some(&long)).starts_with("/tmp"));
        assert!(directory(Path::new("/a"), Some(Path::new("relative"))).starts_with("/tmp"));
    }

    #[test]
    fn a_directory_that_others_may_enter_is_not_trusted() {
        let tmp = tempfile::tempdir().unwrap();
        let place = Place::in_directory(tmp.path().join("fb"));
        assert!(!place.exists().unwrap());
        place.make().unwrap();
        place.make().unwrap();
        assert!(place.exists().unwrap());
        fs::set_permissions(&place.dir, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(place.exists().unwrap_err().code, "runtime-directory-unsafe");
        fs::remove_dir(&place.dir).unwrap();
        std::os::unix::fs::symlink(tmp.path(), &place.dir).unwrap();
        assert!(place.make().is_err());
    }
}
