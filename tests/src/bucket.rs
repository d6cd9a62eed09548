//! An S3 server on loopback, in a process that a test kills and starts again.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::{binary, free_port};

/// The server. When it goes, so does all that it held.
pub struct BucketServer {
    folder: TempDir,
    address: String,
    process: Option<Child>,
}

impl BucketServer {
    /// Starts it on an empty folder.
    ///
    /// # Panics
    /// It does not start.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("fbbucket-").tempdir().expect("a folder");
        let mut server = Self { folder, address: format!("127.0.0.1:{}", free_port()), process: None };
        server.restart(&[]);
        server
    }

    /// Starts it again, where it was, on what it has.
    ///
    /// # Panics
    /// It does not start.
    pub fn restart(&mut self, options: &[&str]) {
        self.kill();
        let mut program = binary::path();
        program.set_file_name("fieldbook-bucket-server");
        let mut command = Command::new(program);
        command.arg(self.folder.path()).arg(&self.address).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("the server starts");
        let mut line = String::new();
        let said = process.stdout.take().map(|output| BufReader::new(output).read_line(&mut line));
        assert!(matches!(said, Some(Ok(1..))), "the server listens");
        self.process = Some(process);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// `http://ADDRESS`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the objects of the bucket `relay` lie.
    pub fn objects(&self) -> PathBuf {
        self.folder.path().join("relay")
    }

    /// The credentials that it takes, as a file has them.
    pub fn credentials(&self) -> &'static str {
        "aws_access_key_id = AKTESTS\naws_secret_access_key = secret-of-the-tests\n"
    }

    /// Names of all files of the bucket below a folder.
    pub fn names(&self, below: &str) -> Vec<String> {
        let (root, mut names) = (self.objects(), Vec::new());
        let mut folders = vec![root.join(below)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else if let Ok(name) = entry.path().strip_prefix(&root) {
                    names.push(name.display().to_string());
                }
            }
        }
        names
    }
}

impl Drop for BucketServer {
    fn drop(&mut self) {
        self.kill();
    }
}
