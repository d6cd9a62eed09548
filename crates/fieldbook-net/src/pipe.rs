//! Two descriptors of this process as one stream of bytes: the ends of pipes, or a socket, that somebody
//! else connected (ssh, socat, a shell).
//!
//! They are read and written by threads that may block. To make them non-blocking would make them so for
//! every process that shares them, a shell among them.

use std::os::fd::OwnedFd;

use tokio::fs::File;
use tokio::io::{Join, join};

/// What is read from `input` and written to `output`, as one stream. Must be used on a runtime.
pub fn join_pipe(input: OwnedFd, output: OwnedFd) -> Join<File, File> {
    join(File::from_std(input.into()), File::from_std(output.into()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::secured;
    use crate::tls::TransportKey;

    fn key(seed: u8) -> TransportKey {
        let public = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
        TransportKey::new(&[seed; 32], &public).unwrap()
    }

    #[tokio::test]
    async fn two_pipes_carry_tls_both_ways_at_once() {
        let (from_server, to_client) = std::io::pipe().unwrap();
        let (from_client, to_server) = std::io::pipe().unwrap();
        let near = join_pipe(from_server.into(), to_server.into());
        let far = join_pipe(from_client.into(), to_client.into());
        let patience = Duration::from_secs(10);
        let (client_key, acceptor) = (key(1), secured::Acceptor::new(&key(2)).unwrap());
        let (client, server) =
            tokio::join!(secured::connect(&client_key, near, patience), acceptor.accept(far, patience));
        let talk = |stream| async move {
            let (mut reader, mut writer) = tokio::io::split(stream);
            let writing = tokio::spawn(async move {
                writer.write_all(&vec![3; 1 << 20]).await.unwrap();
                writer.shutdown().await.unwrap();
                writer
            });
            let mut heard = Vec::new();
            reader.read_to_end(&mut heard).await.unwrap();
            writing.await.unwrap();
            heard.len()
        };
        let heard = tokio::join!(talk(client.unwrap().0), talk(server.unwrap().0));
        assert_eq!(heard, (1 << 20, 1 << 20));
    }
}
