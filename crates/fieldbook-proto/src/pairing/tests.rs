//! A coordinator and a newcomer, and what others on the wire may try.

use super::admission::tests::{admission, request};
use super::*;
use crate::certificate::Role;

const NOW: u64 = 1_000;

fn invitation() -> Invitation {
    let code = Code::new([1, 2, 3, 4, 5, 6, 7, 8], vec!["192.168.1.5:40123".into()]).unwrap();
    Invitation::new(code, Role::Monitor, NOW + 600)
}

fn other_code() -> Code {
    Code::new([9; 8], vec![]).unwrap()
}

fn sent(events: &[Event]) -> Vec<Vec<u8>> {
    events
        .iter()
        .filter_map(|e| if let Event::Send(bytes) = e { Some(bytes.clone()) } else { None })
        .collect()
}

fn words(events: &[Event]) -> Option<[&'static str; 4]> {
    events.iter().find_map(|e| if let Event::CheckWords(words) = e { Some(*words) } else { None })
}

/// Both sides up to the check words, with the first four messages.
struct Met {
    inviter: Inviter,
    joiner: Joiner,
    words: [&'static str; 4],
    said: Vec<Vec<u8>>,
}

fn meet(invitation: &mut Invitation) -> Met {
    let (mut joiner, hello) = Joiner::start(invitation.code(), &[1; 32]);
    let mut inviter = Inviter::start(invitation, &[2; 32], NOW).unwrap();
    let answer = sent(&inviter.on_message(&hello, invitation, NOW).unwrap()).remove(0);
    let proof = sent(&joiner.on_message(&answer).unwrap()).remove(0);
    let events = inviter.on_message(&proof, invitation, NOW).unwrap();
    let reply = sent(&events).remove(0);
    let shown = joiner.on_message(&reply).unwrap();
    let words = words(&events).unwrap();
    assert_eq!(super::tests::words(&shown), Some(words), "both screens show the same words");
    Met { inviter, joiner, words, said: vec![hello, answer, proof, reply] }
}

/// A guess at the invitation's code, up to the inviter's verdict.
fn guess(invitation: &mut Invitation, code: &Code) -> Result<Vec<Event>, PairingError> {
    let (mut joiner, hello) = Joiner::start(code, &[3; 32]);
    let mut inviter = Inviter::start(invitation, &[4; 32], NOW)?;
    let answer = sent(&inviter.on_message(&hello, invitation, NOW)?).remove(0);
    let proof = sent(&joiner.on_message(&answer)?).remove(0);
    inviter.on_message(&proof, invitation, NOW)
}

#[test]
fn two_people_with_one_code_pair_their_devices() {
    let mut invitation = invitation();
    let Met { mut inviter, mut joiner, .. } = meet(&mut invitation);
    let asks = sent(&joiner.approve(&request()).unwrap());
    let mut events = Vec::new();
    for message in asks {
        events.extend(inviter.on_message(&message, &mut invitation, NOW).unwrap());
    }
    assert_eq!(events, [Event::Request(request())]);
    let mut admission = admission();
    admission.authority = vec![7; 200_000]; // a very large team: several messages
    let mut events = Vec::new();
    for message in sent(&inviter.approve(&admission).unwrap()) {
        assert!(message.len() <= MESSAGE_MAX);
        events.extend(joiner.on_message(&message).unwrap());
    }
    assert_eq!(events, [Event::Admission(Box::new(admission))]);
    let mut events = joiner.adopted().unwrap();
    assert_eq!(events.pop(), Some(Event::Done));
    assert_eq!(inviter.on_message(&sent(&events)[0], &mut invitation, NOW), Ok(vec![Event::Done]));
}

#[test]
fn three_wrong_guesses_end_the_invitation_for_the_right_code_too() {
    let mut invitation = invitation();
    let right = invitation.code().clone();
    for wrong in 1..=3 {
        let error = guess(&mut invitation, &other_code()).unwrap_err();
        assert_eq!(error, PairingError::WrongCode);
        assert_eq!(invitation.wrong_guesses(), wrong);
    }
    assert_eq!(guess(&mut invitation, &right), Err(PairingError::Closed(InvitationEnd::TooManyGuesses)));
}

#[test]
fn a_code_works_once_even_when_the_pairing_breaks_off() {
    let mut invitation = invitation();
    let right = invitation.code().clone();
    drop(meet(&mut invitation));
    assert_eq!(guess(&mut invitation, &right), Err(PairingError::Closed(InvitationEnd::Used)));
}

#[test]
fn connections_opened_beforehand_give_no_guess_beyond_the_third() {
    let mut invitation = invitation();
    let mut waiting: Vec<_> = (0..5)
        .map(|n| {
            let (mut joiner, hello) = Joiner::start(&other_code(), &[n; 32]);
            let mut inviter = Inviter::start(&invitation, &[n + 100; 32], NOW).unwrap();
            let answer = sent(&inviter.on_message(&hello, &mut invitation, NOW).unwrap()).remove(0);
            (inviter, sent(&joiner.on_message(&answer).unwrap()).remove(0))
        })
        .collect();
    assert_eq!(invitation.wrong_guesses(), 0, "an answer alone gives nothing to guess with");
    let verdicts: Vec<_> =
        waiting.iter_mut().map(|(i, proof)| i.on_message(proof, &mut invitation, NOW).unwrap_err()).collect();
    let closed = PairingError::Closed(InvitationEnd::TooManyGuesses);
    assert_eq!(verdicts[..3], [PairingError::WrongCode, PairingError::WrongCode, PairingError::WrongCode]);
    assert_eq!(verdicts[3..], [closed.clone(), closed]);
}

#[test]
fn an_expired_invitation_takes_nobody() {
    let mut invitation = invitation();
    let late = NOW + 601;
    let error = Inviter::start(&invitation, &[2; 32], late).err();
    assert_eq!(error, Some(PairingError::Closed(InvitationEnd::Expired)));
    // Also when it expires between the first message and the proof.
    let (mut joiner, hello) = Joiner::start(invitation.code(), &[1; 32]);
    let mut inviter = Inviter::start(&invitation, &[2; 32], NOW).unwrap();
    let answer = sent(&inviter.on_message(&hello, &mut invitation, NOW).unwrap()).remove(0);
    let proof = sent(&joiner.on_message(&answer).unwrap()).remove(0);
    let expired = PairingError::Closed(InvitationEnd::Expired);
    assert_eq!(inviter.on_message(&proof, &mut invitation, late), Err(expired));
}

#[test]
fn somebody_between_who_knows_the_code_is_betrayed_by_the_check_words() {
    let mut real = invitation();
    let mut own = invitation();
    // The one between plays inviter to the joiner and joiner to the inviter.
    let to_joiner = meet(&mut own);
    let (mut joiner, hello) = Joiner::start(real.code(), &[5; 32]);
    let mut inviter = Inviter::start(&real, &[6; 32], NOW).unwrap();
    let answer = sent(&inviter.on_message(&hello, &mut real, NOW).unwrap()).remove(0);
    let proof = sent(&joiner.on_message(&answer).unwrap()).remove(0);
    let to_inviter = words(&inviter.on_message(&proof, &mut real, NOW).unwrap()).unwrap();
    assert_ne!(to_joiner.words, to_inviter);
}

#[test]
fn an_altered_byte_of_the_first_four_messages_ends_the_pairing() {
    let said = meet(&mut invitation()).said;
    for (which, message) in said.iter().enumerate() {
        for at in 0..message.len() {
            let mut bytes = message.clone();
            bytes[at] ^= 1;
            let mut invitation = invitation();
            let (mut joiner, _) = Joiner::start(invitation.code(), &[1; 32]);
            let mut inviter = Inviter::start(&invitation, &[2; 32], NOW).unwrap();
            let said_before = |n: usize| if n == which { &bytes } else { &said[n] };
            let result = inviter
                .on_message(said_before(0), &mut invitation, NOW)
                .and_then(|events| {
                    let answer = if which == 1 { bytes.clone() } else { sent(&events).remove(0) };
                    joiner.on_message(&answer)
                })
                .and_then(|events| {
                    let proof = if which == 2 { bytes.clone() } else { sent(&events).remove(0) };
                    inviter.on_message(&proof, &mut invitation, NOW)
                })
                .and_then(|events| {
                    let reply = if which == 3 { bytes.clone() } else { sent(&events).remove(0) };
                    joiner.on_message(&reply)
                });
            assert!(result.is_err(), "message {which}, byte {at}");
        }
    }
}

#[test]
fn cut_and_foreign_messages_are_refused_without_a_panic() {
    let said = meet(&mut invitation()).said;
    let mut foreign: Vec<Vec<u8>> =
        said.iter().flat_map(|m| (0..m.len()).map(|end| m[..end].to_vec())).collect();
    foreign.extend((0..=255).map(|kind| vec![kind; 200]));
    foreign.push(vec![5; MESSAGE_MAX + 1]);
    for message in foreign {
        let mut invitation = invitation();
        let mut inviter = Inviter::start(&invitation, &[2; 32], NOW).unwrap();
        assert!(inviter.on_message(&message, &mut invitation, NOW).is_err());
        let over = inviter.on_message(&said[0], &mut invitation, NOW);
        assert_eq!(over, Err(PairingError::OutOfOrder), "an error ends the machine");
        assert!(Joiner::start(invitation.code(), &[1; 32]).0.on_message(&message).is_err());
    }
}

#[test]
fn nothing_is_sent_before_the_person_agrees() {
    let mut invitation = invitation();
    let Met { mut inviter, mut joiner, .. } = meet(&mut invitation);
    assert_eq!(inviter.approve(&admission()), Err(PairingError::OutOfOrder), "nobody has asked yet");
    assert_eq!(joiner.adopted(), Err(PairingError::OutOfOrder));
    let farewell = joiner.reject();
    let declined = PairingError::Refused(Refusal::Declined);
    assert_eq!(inviter.on_message(&farewell, &mut invitation, NOW), Err(declined));
    assert_eq!(joiner.approve(&request()), Err(PairingError::OutOfOrder));
}

#[test]
fn the_other_side_learns_why() {
    let mut invitation = invitation();
    let error = guess(&mut invitation, &other_code()).unwrap_err();
    let (mut joiner, _) = Joiner::start(&other_code(), &[1; 32]);
    let told = joiner.on_message(&error.farewell().unwrap()).unwrap_err();
    assert_eq!(told, PairingError::Refused(Refusal::WrongCode));
    assert_eq!(told.farewell(), None, "a farewell is not answered");
    let (_, mut hello) = Joiner::start(invitation.code(), &[1; 32]);
    hello[7] = 2;
    let mut inviter = Inviter::start(&invitation, &[2; 32], NOW).unwrap();
    let error = inviter.on_message(&hello[..20], &mut invitation, NOW).unwrap_err();
    assert_eq!(error, PairingError::Version { theirs: 2 });
}
