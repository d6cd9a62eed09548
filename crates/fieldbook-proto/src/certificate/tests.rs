use super::*;
use ed25519_dalek::{Signer, SigningKey};

fn keys(seed: u8) -> (SigningKey, DeviceKeys) {
    let signing = SigningKey::from_bytes(&[seed; 32]);
    let transport = SigningKey::from_bytes(&[seed ^ 0x80; 32]);
    let recipient = Recipient::parse(&format!("age1{}", "q".repeat(58))).unwrap();
    let keys = DeviceKeys {
        signing: signing.verifying_key().to_bytes(),
        transport: transport.verifying_key().to_bytes(),
        recipient,
    };
    (signing, keys)
}

fn certificate(issuer: u8, subject: u8, role: Role) -> Certificate {
    let (signer, issuer_keys) = keys(issuer);
    let (_, subject_keys) = keys(subject);
    let body = CertificateBody {
        team: TeamId::from_bytes([7; 16]),
        keys: subject_keys,
        role,
        desk: DeskId::from_bytes([8; 16]),
        admitted: 1_000,
        not_after: 2_000,
        issuer: issuer_keys.device_id(),
        serial: 0,
    };
    let signature = signer.sign(&body.signed_bytes()).to_bytes();
    Certificate::new(body, signature)
}

#[test]
fn a_coordinator_admits_and_a_monitor_does_not() {
    let authority = Authority::new(certificate(1, 1, Role::Coordinator)).unwrap();
    let monitor = certificate(1, 2, Role::Monitor);
    let device = authority.judge(&monitor, 1_500).unwrap();
    assert!(!device.expired());
    assert!(authority.judge(&monitor, 2_001).unwrap().expired());
    let by_monitor = certificate(2, 3, Role::Monitor);
    assert_eq!(authority.judge(&by_monitor, 1_500), Err(CertificateError::UnknownIssuer));
}

#[test]
fn a_slow_clock_a_self_made_certificate_or_too_many_do_not_break_the_encoding() {
    let mut authority = Authority::new(certificate(1, 1, Role::Coordinator)).unwrap();
    authority.add_coordinator(certificate(1, 4, Role::Coordinator)).unwrap();
    // Admitted by 4 before 4 was, as the clock of 4 has it.
    let (signer, _) = keys(4);
    let mut early = certificate(4, 5, Role::Coordinator).body;
    early.admitted = 10;
    let signature = signer.sign(&early.signed_bytes()).to_bytes();
    authority.add_coordinator(Certificate::new(early, signature)).unwrap();
    assert_eq!(Authority::decode(&authority.encode()).as_ref(), Ok(&authority));
    // 4 certifies itself, the founder, and with an early date one whom the founder admitted.
    authority.add_coordinator(certificate(1, 6, Role::Coordinator)).unwrap();
    let ranks: Vec<_> = [1, 4, 6].map(|n| authority.rank(&keys(n).1.device_id())).into();
    authority.add_coordinator(certificate(4, 4, Role::Coordinator)).unwrap();
    authority.add_coordinator(certificate(4, 1, Role::Coordinator)).unwrap();
    let mut early = certificate(4, 6, Role::Coordinator).body;
    (early.admitted, early.desk) = (10, DeskId::from_bytes([9; 16]));
    let signature = keys(4).0.sign(&early.signed_bytes()).to_bytes();
    authority.add_coordinator(Certificate::new(early, signature)).unwrap();
    let after: Vec<_> = [1, 4, 6].map(|n| authority.rank(&keys(n).1.device_id())).into();
    assert_eq!(after, ranks);
    let desk = DeskId::from_bytes([8; 16]);
    assert!(authority.reads_for(&keys(6).1.device_id(), desk));
    let more = (10..10 + 60).map(|n| authority.add_coordinator(certificate(4, n, Role::Coordinator)));
    assert!(more.collect::<Result<Vec<_>, _>>().is_ok());
    let one_more = authority.add_coordinator(certificate(4, 99, Role::Coordinator));
    assert_eq!(one_more, Err(CertificateError::TooMany));
    assert_eq!(Authority::decode(&authority.encode()), Ok(authority));
}

#[test]
fn every_altered_byte_is_noticed() {
    let authority = Authority::new(certificate(1, 1, Role::Coordinator)).unwrap();
    let good = certificate(1, 2, Role::Monitor).encode();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let verdict = Certificate::decode(&bad).map(|c| authority.judge(&c, 1_500));
        assert!(!matches!(verdict, Ok(Ok(_))), "byte {at} can be changed unnoticed");
    }
}

fn removal(issuer: u8, sequence: u64, device: u8, cut: u64, keeps: &[u8]) -> Removal {
    let (signer, issuer_keys) = keys(issuer);
    let mut keeps: Vec<DeviceId> = keeps.iter().map(|n| keys(*n).1.device_id()).collect();
    keeps.sort();
    let mut removal = Removal {
        team: TeamId::from_bytes([7; 16]),
        issuer: issuer_keys.device_id(),
        sequence,
        device: keys(device).1.device_id(),
        act: Act::Removed,
        cut,
        keeps,
        time_s: 1_500,
        signature: [0; 64],
    };
    removal.signature = signer.sign(&removal.signed_bytes()).to_bytes();
    removal
}

fn team(coordinators: &[(u8, u8)]) -> Authority {
    let mut authority = Authority::new(certificate(1, 1, Role::Coordinator)).unwrap();
    for (issuer, device) in coordinators {
        authority.add_coordinator(certificate(*issuer, *device, Role::Coordinator)).unwrap();
    }
    authority
}

fn stands(authority: &Authority, device: u8) -> bool {
    authority.is_coordinator(&keys(device).1.device_id())
}

#[test]
fn a_removed_device_is_refused_and_the_authority_survives_its_encoding() {
    let mut authority = team(&[(1, 4)]);
    let monitor = certificate(4, 2, Role::Monitor);
    assert!(authority.judge(&monitor, 1_500).is_ok());
    assert!(authority.add_removal(removal(4, 9, 2, 5, &[])).unwrap());
    assert_eq!(authority.judge(&monitor, 1_500), Err(CertificateError::Revoked));
    assert!(authority.judge_author(&monitor, 5).is_ok(), "what it wrote before stands");
    assert_eq!(authority.judge_author(&monitor, 6), Err(CertificateError::AfterRemoval));
    assert_eq!(Authority::decode(&authority.encode()), Ok(authority));
}

#[test]
fn a_removal_by_a_monitor_a_stranger_or_with_one_bit_changed_is_refused() {
    let mut authority = team(&[(1, 4)]);
    for issuer in [2, 3] {
        let by_nobody = removal(issuer, 1, 1, 0, &[]);
        assert_eq!(authority.add_removal(by_nobody), Err(CertificateError::UnknownIssuer));
    }
    let good = removal(4, 9, 2, 5, &[1]).encode();
    assert_eq!(Removal::decode(&good).unwrap().encode(), good);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let verdict = Removal::decode(&bad).map(|removal| authority.add_removal(removal));
        assert!(!matches!(verdict, Ok(Ok(_))), "byte {at} can be changed unnoticed");
        assert!(Removal::decode(&good[..at]).is_err());
    }
}

#[test]
fn of_two_coordinators_who_remove_each_other_the_one_admitted_earlier_stands() {
    for turned in [false, true] {
        let mut authority = team(&[(1, 4), (4, 5)]);
        let mut removals = [removal(4, 9, 5, 3, &[]), removal(5, 4, 4, 8, &[])];
        if turned {
            removals.reverse();
        }
        for removal in removals {
            authority.add_removal(removal).unwrap();
        }
        assert!(stands(&authority, 4) && !stands(&authority, 5));
    }
}

#[test]
fn what_a_coordinator_did_before_it_was_removed_stands_and_nothing_after() {
    let mut authority = team(&[(1, 4), (1, 5)]);
    authority.add_removal(removal(1, 20, 4, 10, &[])).unwrap();
    authority.add_removal(removal(4, 10, 2, 0, &[])).unwrap();
    authority.add_removal(removal(4, 11, 5, 0, &[])).unwrap();
    assert!(authority.is_removed(&keys(2).1.device_id()), "seen before the removal");
    assert!(stands(&authority, 5), "not seen before the removal");
}

#[test]
fn whom_a_removed_coordinator_certified_falls_unless_kept_vouched_for_or_certified_anew() {
    let mut authority = team(&[(1, 4), (4, 5), (4, 6), (4, 7)]);
    authority.add_removal(removal(7, 1, 8, 0, &[])).unwrap();
    assert!(authority.is_removed(&keys(8).1.device_id()));
    authority.add_removal(removal(1, 20, 4, 10, &[5])).unwrap();
    assert!(stands(&authority, 5) && !stands(&authority, 6) && !stands(&authority, 7));
    assert!(!authority.is_removed(&keys(8).1.device_id()), "nor does what a fallen coordinator did stand");
    authority.add_coordinator(certificate(5, 6, Role::Coordinator)).unwrap();
    assert!(stands(&authority, 6));
    let monitor = certificate(4, 2, Role::Monitor);
    assert_eq!(authority.judge(&monitor, 1_500), Err(CertificateError::IssuerRemoved));
    authority.vouch(monitor.device_id()).unwrap();
    assert!(authority.judge(&monitor, 1_500).is_ok());
    assert!(authority.judge(&certificate(5, 2, Role::Monitor), 1_500).is_ok());
    assert_eq!(Authority::decode(&authority.encode()), Ok(authority));
}

#[test]
fn only_the_coordinators_whom_a_desk_s_founder_admitted_speak_for_it() {
    let at = |issuer, device, desk| {
        let mut body = certificate(issuer, device, Role::Coordinator).body;
        body.desk = desk;
        let signature = keys(issuer).0.sign(&body.signed_bytes()).to_bytes();
        Certificate::new(body, signature)
    };
    let first = DeskId::from_bytes([8; 16]);
    let second = DeskId::founded_by(&keys(4).1.device_id());
    let mut authority = team(&[]);
    authority.add_coordinator(at(1, 4, second)).unwrap();
    authority.add_coordinator(at(4, 5, second)).unwrap();
    // 5 admits to the first desk, and the founder to the second: neither is theirs.
    authority.add_coordinator(at(5, 6, first)).unwrap();
    authority.add_coordinator(at(1, 7, second)).unwrap();
    let reads = |device: u8, desk| authority.reads_for(&keys(device).1.device_id(), desk);
    assert!(reads(1, first) && reads(4, second) && reads(5, second));
    assert!(!reads(1, second) && !reads(4, first) && !reads(6, first) && !reads(7, second));
}

mod histories {
    //! Random histories of a team whose devices act apart and hear of each other in any order.
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Word {
        Admission(Certificate),
        Removal(Removal),
    }

    /// What coordinators may say: who certifies or removes whom, with what number and cut.
    fn words() -> impl Strategy<Value = Vec<Word>> {
        let one = (1..7_u8, 1..7_u8, any::<bool>(), 0..6_u64, 0..6_u64, 0..3_u64).prop_map(
            |(by, on, admits, sequence, cut, time)| {
                if admits {
                    let mut body = certificate(by, on, Role::Coordinator).body;
                    body.admitted = 1_000 + time;
                    let signature = keys(by).0.sign(&body.signed_bytes()).to_bytes();
                    Word::Admission(Certificate::new(body, signature))
                } else {
                    Word::Removal(removal(by, sequence, on, cut, &[(cut as u8) + 1]))
                }
            },
        );
        proptest::collection::vec(one, 0..24)
    }

    /// Hears everything in this order, and again what could not be understood the first time.
    fn hear(order: &[Word]) -> Authority {
        let mut authority = team(&[]);
        for _ in 0..=order.len() {
            let mut changed = false;
            for word in order {
                changed |= match word.clone() {
                    Word::Admission(certificate) => authority.add_coordinator(certificate),
                    Word::Removal(removal) => authority.add_removal(removal),
                }
                .unwrap_or(false);
            }
            if !changed {
                break;
            }
        }
        authority
    }

    proptest! {
        #[test]
        fn devices_that_heard_the_same_agree_whatever_the_order(
            (words, shuffled) in words().prop_flat_map(|w| (Just(w.clone()), Just(w).prop_shuffle())),
            split in any::<prop::sample::Index>(),
        ) {
            let authority = hear(&words);
            prop_assert_eq!(&hear(&shuffled), &authority);
            // Two halves that were apart and meet.
            let at = split.index(words.len() + 1);
            let mut halves = hear(&words[..at]);
            let other = hear(&words[at..]);
            for _ in 0..words.len() + 1 {
                for word in &words {
                    let _ = match word.clone() {
                        Word::Admission(certificate) => halves.add_coordinator(certificate),
                        Word::Removal(removal) => halves.add_removal(removal),
                    };
                }
            }
            prop_assert_eq!(&halves, &authority);
            prop_assert!(other.coordinators().len() <= 7);
            prop_assert_eq!(&Authority::decode(&authority.encode()).unwrap(), &authority);
            // The elder of two who remove each other stands, unless somebody else removed it.
            for (device, certificate) in authority.coordinators() {
                prop_assert!(!authority.is_removed(device));
                prop_assert!(authority.rank(device).is_some());
                prop_assert_eq!(certificate.device_id(), *device);
            }
            for removal in authority.removals() {
                let counts = authority.removal(&removal.device).is_some();
                let by_founder = removal.issuer == authority.founder() && authority.is_coordinator(&removal.issuer);
                prop_assert!(counts || !by_founder, "the founder's word counts while it stands");
            }
        }
    }
}
