//! From what a socket received to what QUIC gets: each datagram is opened where it lies.
//!
//! The system may hand over many datagrams of one length in one buffer (GRO), and quinn wants all in a
//! buffer to have one length, the last may be shorter. The contents of boxes of one length have different
//! lengths: where they do not fit this rule, the rest waits for the next call, in order.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::task::{Context, Poll, ready};

use quinn::AsyncUdpSocket;
use quinn::udp::RecvMeta;

/// Contents that found no place: a buffer of them each.
#[derive(Debug, Default)]
pub(super) struct Waiting(VecDeque<(RecvMeta, Vec<u8>)>);

impl Waiting {
    /// Fills the buffers; how many, none if nothing waits.
    fn hand_over(&mut self, bufs: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let mut filled = 0;
        for (buf, place) in bufs.iter_mut().zip(metas) {
            let Some((meta, contents)) = self.0.pop_front() else { break };
            // They came out of a buffer of this size.
            let len = contents.len().min(buf.len());
            buf[..len].copy_from_slice(&contents[..len]);
            *place = RecvMeta { len, ..meta };
            filled += 1;
        }
        filled
    }

    fn add(&mut self, meta: RecvMeta, content: &[u8]) {
        if let Some((last, contents)) = self.0.back_mut()
            && last.addr == meta.addr
            && content.len() <= last.stride
            && contents.len() % last.stride == 0
            && contents.len() + content.len() <= usize::from(u16::MAX)
        {
            contents.extend_from_slice(content);
            return;
        }
        let meta = RecvMeta { stride: content.len(), ..meta };
        self.0.push_back((meta, content.to_vec()));
    }
}

/// What a veiled socket hands to QUIC: what waits, else what comes now, opened, and without the marks of congestion
/// control.
pub(super) fn receive(
    inner: &dyn AsyncUdpSocket,
    waiting: &mut Waiting,
    cx: &mut Context<'_>,
    (bufs, metas): (&mut [IoSliceMut<'_>], &mut [RecvMeta]),
    open: impl FnMut(&RecvMeta, &mut [u8]) -> Option<Range<usize>>,
) -> Poll<io::Result<usize>> {
    let filled = waiting.hand_over(bufs, metas);
    if filled > 0 {
        return Poll::Ready(Ok(filled));
    }
    let received = ready!(inner.poll_recv(cx, bufs, metas))?;
    let metas = &mut metas[..received];
    open_all(&mut bufs[..received], metas, waiting, open);
    metas.iter_mut().for_each(|meta| meta.ecn = None);
    Poll::Ready(Ok(received))
}

/// Opens what was received. `open` tells where in a datagram its content lies, or that it is none.
fn open_all(
    bufs: &mut [IoSliceMut<'_>],
    metas: &mut [RecvMeta],
    waiting: &mut Waiting,
    mut open: impl FnMut(&RecvMeta, &mut [u8]) -> Option<Range<usize>>,
) {
    for (buf, meta) in bufs.iter_mut().zip(metas) {
        let (received, stride) = (meta.len.min(buf.len()), meta.stride.max(1));
        let (mut taken, mut first) = (0, 0);
        for start in (0..received).step_by(stride) {
            let end = received.min(start + stride);
            let Some(content) = open(meta, &mut buf[start..end]) else { continue };
            let content = start + content.start..start + content.end;
            let fits = taken == 0 || (content.len() <= first && taken % first == 0);
            if content.is_empty() {
                // QUIC has no empty datagrams.
            } else if fits && waiting.0.is_empty() {
                if taken == 0 {
                    first = content.len();
                }
                let place = taken;
                taken += content.len();
                buf.copy_within(content, place);
            } else {
                waiting.add(*meta, &buf[content]);
            }
        }
        (meta.len, meta.stride) = (taken, first);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A datagram of eight bytes: the length of its content, then that, then anything.
    fn open(_: &RecvMeta, datagram: &mut [u8]) -> Option<Range<usize>> {
        let len = usize::from(datagram[0]);
        (len < 8).then_some(1..1 + len)
    }

    fn read(bufs: &[Vec<u8>], metas: &[RecvMeta]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for (buf, meta) in bufs.iter().zip(metas) {
            all.extend(buf[..meta.len].chunks(meta.stride.max(1)).map(<[u8]>::to_vec));
        }
        all
    }

    proptest! {
        #[test]
        fn every_content_arrives_once_and_in_order(batches in prop::collection::vec(prop::collection::vec(0..9_u8, 1..12), 1..8)) {
            let mut number = 0;
            let mut expected = Vec::new();
            let mut bufs: Vec<Vec<u8>> = Vec::new();
            let mut metas = Vec::new();
            for lens in &batches {
                let mut buf = Vec::new();
                for len in lens {
                    number += 1_u8;
                    let mut datagram = vec![number; 8];
                    datagram[0] = *len;
                    if (1..8).contains(len) {
                        expected.push(vec![number; usize::from(*len)]);
                    }
                    buf.extend(datagram);
                }
                metas.push(RecvMeta { len: buf.len(), stride: 8, ..RecvMeta::default() });
                buf.resize(200, 0);
                bufs.push(buf);
            }
            let mut waiting = Waiting::default();
            let mut slices: Vec<_> = bufs.iter_mut().map(|buf| IoSliceMut::new(buf)).collect();
            open_all(&mut slices, &mut metas, &mut waiting, open);
            let mut got = read(&bufs, &metas);
            loop {
                let mut bufs = vec![vec![0; 200]; 2];
                let mut metas = vec![RecvMeta::default(); 2];
                let mut slices: Vec<_> = bufs.iter_mut().map(|buf| IoSliceMut::new(buf)).collect();
                let filled = waiting.hand_over(&mut slices, &mut metas);
                if filled == 0 {
                    break;
                }
                got.extend(read(&bufs[..filled], &metas[..filled]));
            }
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn what_a_system_should_not_say_hurts_nobody() {
        let mut buf = [3; 16];
        for (len, stride) in [(0, 0), (16, 0), (16, 100), (100, 8)] {
            let mut metas = [RecvMeta { len, stride, ..RecvMeta::default() }];
            let mut waiting = Waiting::default();
            let nothing = |_: &RecvMeta, _: &mut [u8]| None;
            open_all(&mut [IoSliceMut::new(&mut buf)], &mut metas, &mut waiting, nothing);
            assert_eq!((metas[0].len, metas[0].stride), (0, 0));
        }
    }
}
