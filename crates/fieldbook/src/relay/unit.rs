//! The unit for systemd: the relay as a service that can touch nothing but its own directory and the network.

use std::path::{Path, PathBuf};

use crate::error::Failure;
use crate::sanitise::line;

/// What a unit is made of.
#[derive(Debug)]
pub struct Unit {
    /// The program.
    pub program: PathBuf,
    /// The user that it runs as; its directory is `/var/lib/` and this name.
    pub user: String,
    /// The file with the passphrase, which only the manager reads.
    pub passphrase: PathBuf,
    /// The files of a relay in a bucket, which only the manager reads, too, by the names that they have for the
    /// service. The first is the one that names the others.
    pub bucket: Option<Vec<(String, PathBuf)>>,
}

impl Unit {
    /// Its text.
    ///
    /// # Errors
    /// A path or the name could be read as something else there.
    pub fn text(&self) -> Result<String, Failure> {
        let Self { program, user, passphrase, bucket } = self;
        let (program, passphrase) = (plain(program)?, plain(passphrase)?);
        let name_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if user.is_empty()
            || user.len() > 31
            || !user.starts_with(|c: char| c.is_ascii_lowercase())
            || !user.chars().all(name_char)
        {
            return Err(Failure::usage(
                "bad-user",
                format!("\"{}\" is no name of a system user", line(user)),
            )
            .hint("for example --user fieldbook-relay"));
        }
        let (mut with_bucket, mut credentials) = (String::new(), String::new());
        for (number, (name, file)) in bucket.iter().flatten().enumerate() {
            let name = plain_name(name)?;
            if number == 0 {
                with_bucket = format!(" --bucket ${{CREDENTIALS_DIRECTORY}}/{name}");
            }
            credentials.push_str(&format!("LoadCredential={name}:{}\n", plain(file)?));
        }
        if !credentials.is_empty() {
            credentials.insert_str(0, "# The bucket's file, and those that it names, in the same way.\n");
        }
        Ok(format!(
            "\
# Fieldbook relay. `fieldbook relay install --print-unit` wrote it; the handbook's page \"For operators: a relay\"
# says how it is used. The user must exist: useradd --system --home-dir /var/lib/{user} --shell /usr/sbin/nologin {user}

[Unit]
Description=Fieldbook relay
Wants=network-online.target
After=network-online.target nss-lookup.target
StartLimitIntervalSec=10min
StartLimitBurst=20

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} --vault /var/lib/{user}/vault --no-input relay run{with_bucket}
# The passphrase is read by the manager, as root, and given to this service alone.
LoadCredential=passphrase:{passphrase}
{credentials}User={user}
StateDirectory={user}
StateDirectoryMode=0700
RuntimeDirectory={user}
RuntimeDirectoryMode=0700
Environment=XDG_RUNTIME_DIR=%t/{user}
# The first process ends the others, in order.
KillMode=mixed
TimeoutStopSec=60
WatchdogSec=120
Restart=on-failure
RestartSec=5
# What a restart does not mend: a command line, a passphrase, a vault that is missing, damaged or a copy.
RestartPreventExitStatus=2 4 10 12 16 17 18

# It writes to its own two directories, and to nothing else.
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
UMask=0077
# No core dump, and nothing of it in swap.
LimitCORE=0
MemorySwapMax=0

# It gains nothing, and it sees nobody.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictSUIDSGID=yes
RemoveIPC=yes
KeyringMode=private
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
# The network, and the sockets of its own directory.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"
        ))
    }
}

/// A path that means the same in a unit as everywhere.
fn plain(path: &Path) -> Result<&str, Failure> {
    match path.to_str() {
        Some(text) if path.is_absolute() && text.chars().all(is_plain) => Ok(text),
        _ => Err(not_plain(&path.to_string_lossy())),
    }
}

/// A name that means the same, too.
fn plain_name(name: &str) -> Result<&str, Failure> {
    if name.chars().all(is_plain) { Ok(name) } else { Err(not_plain(name)) }
}

const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | '@' | ',')
}

fn not_plain(text: &str) -> Failure {
    Failure::usage("bad-path", format!("\"{}\" cannot stand in a unit", line(text)))
        .hint("give an absolute path of letters, digits and ./_-+@, without spaces")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(program: &str, user: &str) -> Result<String, Failure> {
        let passphrase = "/etc/relay/passphrase".into();
        Unit { program: program.into(), user: user.into(), passphrase, bucket: None }.text()
    }

    #[test]
    fn what_could_be_read_as_something_else_does_not_get_into_a_unit() {
        let text = unit("/usr/bin/fieldbook", "fieldbook-relay").unwrap();
        assert!(text.contains("\nLoadCredential=passphrase:/etc/relay/passphrase\n"), "{text}");
        for bad in ["fieldbook", "/a b", "/a\nExecStartPre=/bin/sh", "/a%h", "/a$X", "/a;b", "/a\"b", "/a\\b"]
        {
            assert_eq!(unit(bad, "fieldbook-relay").unwrap_err().kind.exit(), 2, "{bad}");
        }
        let bucket = |name: &str, file: &str| {
            let bucket = Some(vec![(name.to_owned(), file.into())]);
            let passphrase = "/p".into();
            Unit { program: "/a".into(), user: "a".into(), passphrase, bucket }.text()
        };
        let text = bucket("b.json", "/etc/b.json").unwrap();
        assert!(text.contains(" relay run --bucket ${CREDENTIALS_DIRECTORY}/b.json\n"), "{text}");
        assert!(text.contains("\nLoadCredential=b.json:/etc/b.json\nUser=a\n"), "{text}");
        for (name, file) in [("b\nUser=root", "/etc/b"), ("b", "/etc/b c"), ("%n", "/etc/b"), ("b", "etc/b")]
        {
            assert_eq!(bucket(name, file).unwrap_err().kind.exit(), 2, "{name} {file}");
        }
        for bad in ["", "Root", "a b", "0a", "a\nb", "../a", &"a".repeat(32)] {
            assert_eq!(unit("/a", bad).unwrap_err().kind.exit(), 2, "{bad}");
        }
    }
}
