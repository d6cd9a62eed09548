//! Bodies survive their encoding; nothing shorter, longer or beyond a limit does.

use fieldbook_proto::certificate::{CertificateBody, Role};
use fieldbook_proto::{DeskId, TeamId};
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::{DeviceSecret, ReadingIdentity};

fn announcement() -> Announcement {
    let device = DeviceSecret::generate([1; 32], [2; 32]);
    let certificate = device.issue(CertificateBody {
        team: TeamId::from_bytes([3; 16]),
        keys: device.keys(),
        role: Role::Coordinator,
        desk: DeskId::from_bytes([4; 16]),
        admitted: 1,
        not_after: 2,
        issuer: device.id(),
        serial: 3,
    });
    Announcement { certificate, label: "Vitebsk 3".into() }
}

fn grant() -> Grant {
    let identity = ReadingIdentity::generate();
    let device = DeviceId::from_bytes([5; 32]);
    Grant {
        transport: Some(TransportEpoch { epoch: 2, secret: Zeroizing::new([6; 32]), without: vec![device] }),
        desk: Some(DeskEpoch {
            desk: DeskId::from_bytes([4; 16]),
            epoch: 7,
            recipient: identity.recipient(),
            name: "Brest".into(),
            readers: vec![device],
            identity: Some(identity.to_text()),
        }),
        recovery: Some(identity.recipient()),
        charter: Some(Zeroizing::new(vec![8; 100])),
        removals: Vec::new(),
        coordinators: vec![announcement()],
    }
}

/// Decodes what was encoded, and nothing else near it.
fn only_whole<T: PartialEq + std::fmt::Debug>(
    value: &T,
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) {
    assert_eq!(decode(bytes).as_ref(), Ok(value));
    for end in 0..bytes.len() {
        assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    assert!(decode(&[bytes, &[0]].concat()).is_err());
}

#[test]
fn every_body_comes_back_whole_and_nothing_shorter_or_longer_does() {
    let announced = announcement();
    only_whole(&announced, &announced.encode(), Announcement::decode);
    let full = grant();
    only_whole(&full, &full.encode(), Grant::decode);
    only_whole(&Grant::default(), &Grant::default().encode(), Grant::decode);
    let none = Receipt { time_ms: -1, ids: Vec::new(), sequences: Vec::new() };
    only_whole(&none, &none.encode(), Receipt::decode);
    let receipt = Receipt { ids: vec![EntryId::from_bytes([1; 32]); 3], sequences: vec![7, 8, 9], ..none };
    let bytes = receipt.encode();
    assert_eq!(Receipt::decode(&bytes), Ok(receipt.clone()));
    // Without the places it is what the first version wrote; anything between and beyond is neither.
    let first = bytes.len() - 3 * 8;
    for end in (0..bytes.len()).filter(|end| *end != first) {
        assert!(Receipt::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    let before = Receipt { sequences: Vec::new(), ..receipt };
    assert_eq!(Receipt::decode(&bytes[..first]), Ok(before));
    assert!(Receipt::decode(&[&bytes[..], &[0]].concat()).is_err());
    let report = ReportId::from_bytes([2; 16]);
    let device = DeviceId::from_bytes([3; 32]);
    for notice in [
        Notice::Sealed { report },
        Notice::Shared { reports: vec![report; 2], with: vec![device] },
        Notice::Told { what: vec![[9; 32]; 2], devices: vec![device; 3] },
    ] {
        only_whole(&notice, &notice.encode(), Notice::decode);
    }
    let entries = vec![EntryId::from_bytes([4; 32]); 2];
    let items = vec![
        ForgetItem { report: Some(report), entries: entries.clone(), replaced_by: Some(report) },
        ForgetItem { report: None, entries, replaced_by: None },
    ];
    let forget = Forget { items };
    only_whole(&forget, &forget.encode(), Forget::decode);
    let recipient = ReadingIdentity::generate().recipient();
    let author = announcement().certificate;
    let share = Share { author, return_recipient: Some(recipient), changes: vec![1, 2, 3] };
    only_whole(&share, &share.encode(), Share::decode);
}

#[test]
fn limits_are_judged_before_anything_is_read() {
    let mut huge = Receipt { time_ms: 0, ids: Vec::new(), sequences: Vec::new() }.encode();
    huge[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    let limit = RECEIPT_IDS_MAX;
    assert_eq!(Receipt::decode(&huge), Err(DecodeError::TooLong { field: "receipts", limit }));
    let sly = Announcement { label: "a\u{1b}[2J".into(), ..announcement() };
    assert_eq!(Announcement::decode(&sly.encode()), Err(DecodeError::Invalid { field: "label" }));
    let entries = vec![EntryId::from_bytes([4; 32]); FORGET_ENTRIES_MAX / 2 + 1];
    let item = ForgetItem { report: None, entries, replaced_by: None };
    let forget = Forget { items: vec![item.clone(), item] };
    assert!(matches!(Forget::decode(&forget.encode()), Err(DecodeError::TooLong { .. })));
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", grant());
    assert!(!shown.contains("SECRET") && !shown.contains("6, 6"), "{shown}");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Announcement::decode(&bytes);
        let _ = Grant::decode(&bytes);
        let _ = Receipt::decode(&bytes);
        let _ = Notice::decode(&bytes);
        let _ = Forget::decode(&bytes);
        let _ = Share::decode(&bytes);
    }
}
