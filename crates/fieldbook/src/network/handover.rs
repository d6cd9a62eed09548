//! Two open descriptors on their way from one process to another, over a Unix socket (`SCM_RIGHTS`): a
//! child has three descriptors of its own, and a courier needs them for other things.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// The byte that they travel with: nothing can be sent with no byte at all.
const MARK: u8 = b'p';

/// Gives `input` and `output` to whoever reads `socket`.
///
/// # Errors
/// The socket is gone.
pub fn give(socket: impl AsFd, input: impl AsFd, output: impl AsFd) -> io::Result<()> {
    let ends = [input.as_fd(), output.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&ends)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(socket, &[io::IoSlice::new(&[MARK])], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Takes what was given: the descriptor to read from, and the one to write to.
///
/// # Errors
/// Something else came.
pub fn take(socket: impl AsFd) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(socket, &mut [io::IoSliceMut::new(&mut byte)], &mut control, flags)?;
    let mut ends = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(ends) => Some(ends),
        _ => None,
    });
    let mut ends = ends.next().into_iter().flatten();
    match (ends.next(), ends.next(), byte) {
        (Some(input), Some(output), [MARK]) => Ok((input, output)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_given_can_be_read_and_written() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (mut there, input) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let (mut read, written) = std::io::pipe().unwrap();
        give(&near, &input, &written).unwrap();
        drop(written);
        let (_, output) = take(&far).unwrap();
        File::from(output).write_all(b"through").unwrap();
        let mut heard = String::new();
        // Nobody else holds the end that is written to.
        read.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "through");
        there.write_all(b"x").unwrap();
        (&near).write_all(b"p").unwrap();
        assert!(take(&far).is_err(), "a byte alone is nothing");
        far.write_all(b"y").unwrap();
    }
}
