use super::*;
use crate::limits::REMOVALS_OF_ONE_MAX;
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
    signed(issuer, sequence, device, cut, keeps, Act::Removed, &[])
}

fn signed(
    issuer: u8,
    sequence: u64,
    device: u8,
    cut: u64,
    keeps: &[u8],
    act: Act,
    honours: &[&Removal],
) -> Removal {
    let (signer, issuer_keys) = keys(issuer);
    let mut honours: Vec<RemovalHash> = honours.iter().map(|removal| removal.hash()).collect();
    honours.sort();
    let mut keeps: Vec<DeviceId> = keeps.iter().map(|n| keys(*n).1.device_id()).collect();
    keeps.sort();
    let mut removal = Removal {
        team: TeamId::from_bytes([7; 16]),
        issuer: issuer_keys.device_id(),
        sequence,
        device: keys(device).1.device_id(),
        act,
        cut,
        cut_entry: (cut > 0).then(|| crate::EntryId::from_bytes([cut as u8; 32])),
        keeps,
        honours,
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
    let seen = removal(4, 10, 2, 0, &[]);
    authority.add_removal(signed(1, 20, 4, 10, &[], Act::Lost, &[&seen])).unwrap();
    assert!(!authority.is_removed(&keys(2).1.device_id()), "it was not heard here yet");
    authority.add_removal(seen).unwrap();
    authority.add_removal(removal(4, 11, 5, 0, &[])).unwrap();
    assert!(authority.is_removed(&keys(2).1.device_id()), "seen before the removal");
    assert!(stands(&authority, 5), "not seen before the removal");
}

#[test]
fn a_removed_coordinator_undoes_nothing_by_signing_today_what_it_says_was_yesterday() {
    for act in [Act::Removed, Act::Lost, Act::Demoted] {
        let mut authority = team(&[(1, 4), (1, 5)]);
        authority.add_removal(signed(1, 20, 4, 10, &[], act, &[])).unwrap();
        for (sequence, device) in [(1, 1), (3, 5), (0, 2)] {
            for back_dated in [Act::Removed, Act::Lost, Act::Demoted] {
                authority.add_removal(signed(4, sequence, device, 0, &[], back_dated, &[])).unwrap();
            }
        }
        assert!(stands(&authority, 1) && stands(&authority, 5) && !stands(&authority, 4));
        assert!(!authority.is_removed(&keys(2).1.device_id()));
    }
}

#[test]
fn who_was_demoted_can_be_removed_by_the_same_coordinator_and_nobody_is_brought_back() {
    let device = keys(4).1.device_id();
    let words = [signed(1, 5, 4, 9, &[], Act::Demoted, &[]), signed(1, 9, 4, 12, &[], Act::Lost, &[])];
    for turned in [false, true] {
        let mut authority = team(&[(1, 4)]);
        let mut words = words.clone();
        if turned {
            words.reverse();
        }
        for word in words {
            authority.add_removal(word).unwrap();
        }
        assert!(authority.is_removed(&device));
        let old = certificate(1, 4, Role::Coordinator);
        let role = |sequence| authority.judge_author(&old, sequence).map(|author| author.role);
        assert_eq!(role(9), Ok(Role::Coordinator));
        assert_eq!(role(10), Ok(Role::Monitor), "between the demotion and the removal");
        assert_eq!(role(13), Err(CertificateError::AfterRemoval));
        // A lower number or a later cut takes nothing back.
        authority.add_removal(signed(1, 1, 4, u64::MAX, &[], Act::Demoted, &[])).unwrap();
        assert!(authority.is_removed(&device));
    }
}

#[test]
fn whoever_says_much_keeps_nobody_from_being_heard() {
    let mut authority = team(&[(1, 4), (4, 5)]);
    let mut refused = 0;
    for number in 0..REMOVALS_OF_ONE_MAX as u64 + 3 {
        let mut junk = removal(4, number, 2, 0, &[]);
        junk.device = DeviceId::from_bytes(*blake3::hash(&number.to_be_bytes()).as_bytes());
        junk.signature = keys(4).0.sign(&junk.signed_bytes()).to_bytes();
        refused += usize::from(authority.add_removal(junk) == Err(CertificateError::TooMany));
    }
    assert_eq!(refused, 3, "the share of one coordinator");
    assert!(authority.add_removal(removal(1, 7, 4, 3, &[])).unwrap());
    assert!(!stands(&authority, 4) && !stands(&authority, 5));
    assert_eq!(authority.removed().len(), 1, "what it said counts no more");
    let mut crowd = team(&[(1, 4)]);
    for n in 10..10 + 62 {
        crowd.add_coordinator(certificate(4, n, Role::Coordinator)).unwrap();
    }
    let newcomer = certificate(1, 99, Role::Coordinator);
    assert_eq!(crowd.add_coordinator(newcomer.clone()), Err(CertificateError::TooMany));
    crowd.add_removal(removal(1, 7, 4, 3, &[])).unwrap();
    assert_eq!(crowd.add_coordinator(newcomer), Ok(true), "the crowd fell with whoever brought it");
}

#[test]
fn a_coordinator_is_moved_by_nobody_who_does_not_belong_to_its_desk() {
    let first = DeskId::from_bytes([8; 16]);
    let at = |issuer: u8, device, desk, admitted| {
        let mut body = certificate(issuer, device, Role::Coordinator).body;
        (body.desk, body.admitted) = (desk, admitted);
        let signature = keys(issuer).0.sign(&body.signed_bytes()).to_bytes();
        Certificate::new(body, signature)
    };
    let mut authority = team(&[(1, 4)]);
    authority.add_coordinator(at(1, 6, first, 2_000)).unwrap();
    let rank = authority.rank(&keys(6).1.device_id());
    authority.add_coordinator(at(4, 6, DeskId::from_bytes([9; 16]), 0)).unwrap();
    assert!(authority.reads_for(&keys(6).1.device_id(), first));
    assert_eq!(authority.rank(&keys(6).1.device_id()), rank);
    // A junior one of another desk, made senior by nobody.
    let second = DeskId::founded_by(&keys(7).1.device_id());
    authority.add_coordinator(at(1, 7, second, 1_500)).unwrap();
    authority.add_coordinator(at(7, 8, second, 1_500)).unwrap();
    authority.add_coordinator(at(4, 8, DeskId::from_bytes([9; 16]), 0)).unwrap();
    assert!(authority.reads_for(&keys(8).1.device_id(), second));
    // One of the first desk moves it there, until that one is removed.
    authority.add_coordinator(at(4, 8, first, 0)).unwrap();
    assert!(authority.reads_for(&keys(8).1.device_id(), first));
    authority.add_removal(removal(1, 7, 4, 3, &[])).unwrap();
    assert!(authority.reads_for(&keys(8).1.device_id(), second));
}

#[test]
fn an_elder_who_was_removed_by_a_junior_may_deliver_its_answer_and_nothing_else() {
    let mut authority = team(&[(1, 4), (4, 5)]);
    authority.add_removal(removal(5, 9, 4, 3, &[5])).unwrap();
    let elder = keys(4).1.device_id();
    assert!(!stands(&authority, 4) && authority.answerable(&elder).is_some());
    let limited = authority.judge(&certificate(1, 4, Role::Coordinator), 1_500).unwrap();
    assert!(limited.expired(), "limited, as one whose certificate has run out");
    authority.add_removal(removal(4, 20, 5, 8, &[])).unwrap();
    assert!(stands(&authority, 4) && !stands(&authority, 5));
    assert!(!authority.judge(&certificate(1, 4, Role::Coordinator), 1_500).unwrap().expired());
    let junior = keys(5).1.device_id();
    assert_eq!(authority.answerable(&junior), None);
    assert_eq!(
        authority.judge(&certificate(4, 5, Role::Coordinator), 1_500).err(),
        Some(CertificateError::Revoked)
    );
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
        let one = (1..7_u8, 1..9_u8, any::<bool>(), 0..6_u64, 0..6_u64, 0..3_u64).prop_map(
            |(by, on, admits, sequence, cut, time)| {
                let acts = [Act::Removed, Act::Lost, Act::Demoted];
                // Monitors, 7 and 8, are not admitted here: who is removed need not be known.
                if admits && on < 7 {
                    let mut body = certificate(by, on, Role::Coordinator).body;
                    body.admitted = 1_000 + time;
                    let signature = keys(by).0.sign(&body.signed_bytes()).to_bytes();
                    Word::Admission(Certificate::new(body, signature))
                } else {
                    let act = acts[time as usize];
                    Word::Removal(signed(by, sequence, on, cut, &[(cut as u8) + 1], act, &[]))
                }
            },
        );
        proptest::collection::vec((one, any::<prop::sample::Index>(), any::<bool>()), 0..24)
            .prop_map(honouring)
    }

    /// Some removals honour one that was said before.
    fn honouring(words: Vec<(Word, prop::sample::Index, bool)>) -> Vec<Word> {
        let mut said: Vec<Word> = Vec::new();
        for (word, which, honours) in words {
            let word = match (word, said.get(which.index(said.len().max(1)))) {
                (Word::Removal(mut removal), Some(Word::Removal(before)))
                    if honours && before.issuer == removal.device =>
                {
                    removal.honours = vec![before.hash()];
                    let by = (1..9).find(|n| keys(*n).1.device_id() == removal.issuer).unwrap();
                    removal.signature = keys(by).0.sign(&removal.signed_bytes()).to_bytes();
                    Word::Removal(removal)
                }
                (word, _) => word,
            };
            said.push(word);
        }
        said
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
            // Two halves that were apart and meet: each tells the other what it has.
            let at = split.index(words.len() + 1);
            let (mut one, two) = (hear(&words[..at]), hear(&words[at..]));
            for certificate in two.certificates.values() {
                let _ = one.add_coordinator(certificate.clone());
            }
            let rest: Vec<Word> = words.iter().chain(&words[..at]).cloned().collect();
            for _ in 0..words.len() + 1 {
                for word in &rest {
                    let _ = match word.clone() {
                        Word::Admission(certificate) => one.add_coordinator(certificate),
                        Word::Removal(removal) => one.add_removal(removal),
                    };
                }
            }
            prop_assert_eq!(&one, &authority);
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
            for device in (1..9).map(|n| keys(n).1.device_id()) {
                let Some(removal) = authority.removal(&device) else { continue };
                prop_assert!(authority.ever_coordinator(&removal.issuer).is_some());
                // Nothing that a removed coordinator signs from now on changes who stands.
                if let Some(by) = (1..9).find(|n| keys(*n).1.device_id() == device)
                    && authority.answerable(&device).is_none()
                    && authority.ever_coordinator(&device).is_some()
                {
                    let mut later = authority.clone();
                    for on in 1..9 {
                        for act in [Act::Lost, Act::Demoted] {
                            later.add_removal(signed(by, 0, on, 0, &[], act, &[])).unwrap();
                        }
                    }
                    prop_assert_eq!(later.coordinators(), authority.coordinators());
                    prop_assert_eq!(later.removed(), authority.removed());
                }
            }
        }
    }
}
