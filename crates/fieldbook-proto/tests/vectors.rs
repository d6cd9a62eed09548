//! Runs `protocol/vectors/certificate/` and `pairing/`, and can write them anew:
//! `cargo test -p fieldbook-proto --test vectors -- --ignored`. All keys and seeds are fixed, so
//! unchanged code writes unchanged files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

#[path = "../../../protocol/vectors/reader.rs"]
mod reader;

use ed25519_dalek::{Signer, SigningKey};
use fieldbook_proto::certificate::{
    Act, Authority, Certificate, CertificateBody, CertificateError, DeviceKeys, Recipient, Removal, Role,
};
use fieldbook_proto::pairing::{
    Admission, Code, CodeError, DeskInfo, Event, FormerDevice, Invitation, Inviter, JoinRequest, Joiner,
    PairingError,
};
use fieldbook_proto::{DeskId, TeamId, encode_hex};
use reader::{Vector, folder, from_hex, to_hex_lines, vectors};

// Certificates.

fn judge(vector: &Vector) -> &'static str {
    let authority = Authority::decode(&vector.hex("authority")).expect("the authority of a vector stands");
    let now = vector.field("now").parse().unwrap();
    let Ok(certificate) = Certificate::decode(&vector.bytes()) else { return "malformed" };
    match authority.judge(&certificate, now) {
        Ok(device) => {
            assert_eq!(device.id().to_string(), vector.field("device"), "{}", vector.file);
            assert_eq!(device.body().role.word(), vector.field("role"), "{}", vector.file);
            if device.expired() { "expired" } else { "ok" }
        }
        Err(CertificateError::WrongTeam) => "wrong-team",
        Err(CertificateError::UnknownIssuer) => "unknown-issuer",
        Err(CertificateError::BadSignature) => "bad-signature",
        Err(CertificateError::Revoked) => "revoked",
        Err(CertificateError::IssuerRemoved) => "issuer-removed",
        Err(error @ (CertificateError::AfterRemoval | CertificateError::TooMany)) => {
            unreachable!("no verdict on a certificate: {error}")
        }
    }
}

#[test]
fn every_certificate_vector_ends_as_it_says() {
    for vector in vectors("certificate") {
        assert_eq!(judge(&vector), vector.field("expect"), "{}: {}", vector.file, vector.field("cause"));
    }
}

// Pairing.

const NOW: u64 = 1_000;

fn seed(vector: &Vector) -> [u8; 32] {
    vector.hex("seed").try_into().unwrap()
}

/// Feeds one side what the other said, and compares what it says with the vector.
fn pair(vector: &Vector) -> String {
    let code: Code = match vector.field("code").parse() {
        Ok(code) => code,
        Err(CodeError::Version { .. }) => return "version".into(),
        Err(_) => return "not-a-code".into(),
    };
    if let Some(words) = vector.fields.get("words") {
        assert_eq!(code.words().unwrap().join(" "), *words, "{}", vector.file);
    }
    if let Some(addresses) = vector.fields.get("addresses") {
        assert_eq!(code.addresses().join(" "), *addresses, "{}", vector.file);
    }
    if vector.fields.contains_key("secret") {
        let secret = vector.hex("secret").try_into().unwrap();
        assert_eq!(Code::long(secret, code.addresses().to_vec()), Ok(code.clone()), "{}", vector.file);
        assert_eq!(code.veil_key().unwrap().to_vec(), vector.hex("veil"), "{}", vector.file);
    }
    let side = match vector.fields.get("side") {
        None => return "ok".into(),
        Some(side) => side.as_str(),
    };
    let mut lines = vector.payload.lines().map(|line| line.split_once(": ").unwrap()).peekable();
    let mut invitation = Invitation::new(code.clone(), Role::Monitor, NOW);
    let mut joiner = None;
    let mut inviter = None;
    let mut said: Vec<Vec<u8>> = Vec::new();
    if side == "joiner" {
        let (machine, hello) = Joiner::start(&code, &seed(vector));
        joiner = Some(machine);
        said.push(hello);
    } else {
        inviter = Some(Inviter::start(&invitation, &seed(vector), NOW).unwrap());
    }
    let (mut shown, mut done) = (None, false);
    loop {
        for said in said.drain(..) {
            let Some((who, expected)) = lines.next() else {
                panic!("{}: one message more than the vector has", vector.file)
            };
            assert_eq!((who, encode_hex(&said).as_str()), (side, expected), "{}", vector.file);
        }
        let Some((who, message)) = lines.next() else { break };
        assert_ne!(who, side, "{}: a message that the machine did not send", vector.file);
        let message = from_hex(message);
        let mut answer = || match (&mut joiner, &mut inviter) {
            (Some(joiner), _) => joiner.on_message(&message),
            (_, Some(inviter)) => inviter.on_message(&message, &mut invitation, NOW),
            _ => unreachable!(),
        };
        let mut events = match answer() {
            Ok(events) => events,
            Err(error) => {
                assert_eq!(lines.next(), None, "{}: the vector goes on after an error", vector.file);
                return class(&error).into();
            }
        };
        let mut at = 0;
        while at < events.len() {
            let more = match (&events[at], &mut joiner, &mut inviter) {
                (Event::CheckWords(words), joiner, _) => {
                    shown = Some(words.join(" "));
                    match joiner {
                        Some(joiner) => {
                            let request = JoinRequest::decode(&vector.hex("request")).unwrap();
                            joiner.approve(&request).unwrap()
                        }
                        None => Vec::new(),
                    }
                }
                (Event::Request(request), _, Some(inviter)) => {
                    assert_eq!(encode_hex(&request.encode()), vector.field("request"), "{}", vector.file);
                    inviter.approve(&Admission::decode(&vector.hex("admission")).unwrap()).unwrap()
                }
                (Event::Admission(admission), Some(joiner), _) => {
                    assert_eq!(encode_hex(&admission.encode()), vector.field("admission"), "{}", vector.file);
                    joiner.adopted().unwrap()
                }
                (Event::Done, ..) => {
                    done = true;
                    Vec::new()
                }
                _ => Vec::new(),
            };
            events.extend(more);
            at += 1;
        }
        said.extend(events.into_iter().filter_map(|e| if let Event::Send(m) = e { Some(m) } else { None }));
    }
    assert_eq!(shown.as_deref(), vector.fields.get("check-words").map(String::as_str), "{}", vector.file);
    if done { "ok" } else { "unfinished" }.into()
}

fn class(error: &PairingError) -> &'static str {
    match error {
        PairingError::WrongCode => "wrong-code",
        PairingError::Closed(_) => "closed",
        PairingError::Version { .. } => "version",
        PairingError::Refused(_) => "refused",
        PairingError::Malformed(_) => "malformed",
        PairingError::OutOfOrder => "out-of-order",
        PairingError::Altered => "altered",
        PairingError::Unsendable(_) => "unsendable",
    }
}

#[test]
fn every_pairing_vector_ends_as_it_says() {
    for vector in vectors("pairing") {
        assert_eq!(pair(&vector), vector.field("expect"), "{}: {}", vector.file, vector.field("cause"));
    }
}

// Writing.

/// A device of the vectors: its secrets are one byte repeated.
fn device(byte: u8) -> (SigningKey, DeviceKeys) {
    let signing = SigningKey::from_bytes(&[byte; 32]);
    let keys = DeviceKeys {
        signing: signing.verifying_key().to_bytes(),
        transport: SigningKey::from_bytes(&[byte ^ 0x80; 32]).verifying_key().to_bytes(),
        recipient: Recipient::parse("age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa")
            .unwrap(),
    };
    (signing, keys)
}

fn body(issuer: u8, subject: u8, role: Role) -> CertificateBody {
    CertificateBody {
        team: TeamId::from_bytes([0x77; 16]),
        keys: device(subject).1,
        role,
        desk: DeskId::from_bytes([0x55; 16]),
        admitted: 1_000,
        not_after: 2_000,
        issuer: device(issuer).1.device_id(),
        serial: 0,
    }
}

fn issue(signer: u8, body: CertificateBody) -> Certificate {
    let signature = device(signer).0.sign(&body.signed_bytes()).to_bytes();
    Certificate::new(body, signature)
}

fn remove(signer: u8, sequence: u64, removed: u8, act: Act, cut: u64) -> Removal {
    let (signing, keys) = device(signer);
    let mut removal = Removal {
        team: TeamId::from_bytes([0x77; 16]),
        issuer: keys.device_id(),
        sequence,
        device: device(removed).1.device_id(),
        act,
        cut,
        cut_entry: None,
        keeps: Vec::new(),
        honours: Vec::new(),
        time_s: 1_400,
        signature: [0; 64],
    };
    removal.signature = signing.sign(&removal.signed_bytes()).to_bytes();
    removal
}

#[test]
#[ignore = "writes protocol/vectors/certificate anew"]
fn write_the_certificate_vectors() {
    let founder = issue(1, body(1, 1, Role::Coordinator));
    let mut authority = Authority::new(founder).unwrap();
    authority.add_coordinator(issue(1, body(1, 2, Role::Coordinator))).unwrap();
    for removed in [6, 7] {
        authority.add_coordinator(issue(1, body(1, removed, Role::Coordinator))).unwrap();
    }
    authority.add_removal(remove(2, 4, 9, Act::Lost, 7)).unwrap();
    // 6 removed 11 before it was removed itself, and signed the removal of 2 afterwards, back-dated.
    let before = remove(6, 2, 11, Act::Removed, 0);
    let mut removed = remove(1, 12, 6, Act::Removed, 3);
    removed.honours = vec![before.hash()];
    removed.signature = device(1).0.sign(&removed.signed_bytes()).to_bytes();
    for removal in [removed, before, remove(6, 1, 2, Act::Lost, 0)] {
        authority.add_removal(removal).unwrap();
    }
    authority.add_removal(remove(1, 13, 7, Act::Demoted, 3)).unwrap();
    authority.vouch(device(10).1.device_id()).unwrap();
    let write = |name: &str, expect: &str, cause: &str, now: u64, bytes: &[u8]| {
        let mut text = format!("expect: {expect}\ncause: {cause}\nnow: {now}\n");
        if let Ok(certificate) = Certificate::decode(bytes) {
            let judged = authority.judge(&certificate, now);
            let role = judged.map_or(certificate.body().role, |device| device.body().role);
            text += &format!("device: {}\nrole: {}\n", certificate.device_id(), role.word());
        }
        text += &format!("authority: {}\n\n{}", encode_hex(&authority.encode()), to_hex_lines(bytes));
        std::fs::write(folder("certificate").join(format!("{name}.txt")), text).unwrap();
    };
    let good = issue(1, body(1, 3, Role::Monitor)).encode();
    write("good", "ok", "signed by the founder", 2_000, &good);
    let second = issue(2, body(2, 4, Role::Relay)).encode();
    write(
        "good-second-coordinator",
        "ok",
        "signed by a coordinator whom the founder admitted",
        1_500,
        &second,
    );
    write("expired", "expired", "a second after its last", 2_001, &good);
    let other_team = CertificateBody { team: TeamId::from_bytes([0x78; 16]), ..body(1, 3, Role::Monitor) };
    write("wrong-team", "wrong-team", "another team", 1_500, &issue(1, other_team).encode());
    let by_monitor = issue(3, body(3, 5, Role::Monitor)).encode();
    write("issuer-is-a-monitor", "unknown-issuer", "signed by a monitor", 1_500, &by_monitor);
    let in_another_name = issue(3, body(1, 5, Role::Monitor)).encode();
    write(
        "issuer-forged",
        "bad-signature",
        "signed by a monitor in the founder's name",
        1_500,
        &in_another_name,
    );
    let promoted = issue(1, body(1, 3, Role::Monitor)).encode();
    let role_at = 1 + 16 + 64 + 4 + 62;
    let mut bytes = promoted;
    assert_eq!(bytes[role_at], 2);
    bytes[role_at] = 1;
    write("role-altered", "bad-signature", "the role was changed to coordinator", 1_500, &bytes);
    let mut bytes = good.clone();
    *bytes.last_mut().unwrap() ^= 1;
    write("signature-altered", "bad-signature", "the signature's last byte was altered", 1_500, &bytes);
    let removed = issue(1, body(1, 9, Role::Monitor)).encode();
    write("revoked", "revoked", "a removed device", 1_500, &removed);
    let honoured = issue(1, body(1, 11, Role::Monitor)).encode();
    write(
        "revoked-honoured",
        "revoked",
        "removed by one who was removed later, and honoured",
        1_500,
        &honoured,
    );
    let elder = issue(1, body(1, 2, Role::Coordinator)).encode();
    write("back-dated", "ok", "its removal was signed by one who had been removed", 1_500, &elder);
    write("truncated", "malformed", "the last byte is missing", 1_500, &good[..good.len() - 1]);
    write("extended", "malformed", "a byte follows", 1_500, &[good.as_slice(), &[0]].concat());
    let mut bytes = good.clone();
    bytes[0] = 3;
    write("version", "malformed", "certificate version 3", 1_500, &bytes);
    let renewed = CertificateBody { serial: 1, not_after: 9_000, ..body(2, 3, Role::Monitor) };
    let renewed = issue(2, renewed).encode();
    write("good-renewed", "ok", "version 2: renewed by another coordinator", 8_000, &renewed);
    let mut bytes = renewed;
    let serial_at = bytes.len() - 64 - 4;
    bytes[serial_at..serial_at + 4].fill(0);
    write("serial-zero", "malformed", "version 2 with number 0", 1_500, &bytes);
    let fallen = issue(6, body(6, 5, Role::Monitor)).encode();
    write("issuer-removed", "issuer-removed", "by a coordinator who was removed", 1_500, &fallen);
    let vouched = issue(6, body(6, 10, Role::Monitor)).encode();
    write("issuer-removed-vouched", "ok", "the same, of a device that is vouched for", 1_500, &vouched);
    let demoted = issue(1, body(1, 7, Role::Coordinator)).encode();
    write("demoted", "ok", "a coordinator's, of a device that no longer is one", 1_500, &demoted);
    let mut bytes = good.clone();
    bytes[role_at] = 4;
    write("role-unknown", "malformed", "role 4", 1_500, &bytes);
    let mut bytes = good;
    bytes[1 + 16 + 64] = 0xff;
    write("recipient-too-long", "malformed", "a recipient of 4 GiB announced", 1_500, &bytes);
}

fn sends(events: Vec<Event>) -> Vec<Vec<u8>> {
    events.into_iter().filter_map(|e| if let Event::Send(m) = e { Some(m) } else { None }).collect()
}

/// A whole pairing: who said what, and the check words.
fn converse(
    code: &Code,
    request: &JoinRequest,
    admission: &Admission,
) -> (Vec<(&'static str, Vec<u8>)>, String) {
    let mut invitation = Invitation::new(code.clone(), Role::Monitor, NOW);
    let (mut joiner, hello) = Joiner::start(code, &[1; 32]);
    let mut inviter = Inviter::start(&invitation, &[2; 32], NOW).unwrap();
    let answer = sends(inviter.on_message(&hello, &mut invitation, NOW).unwrap()).remove(0);
    let proof = sends(joiner.on_message(&answer).unwrap()).remove(0);
    let reply = sends(inviter.on_message(&proof, &mut invitation, NOW).unwrap()).remove(0);
    let words = match joiner.on_message(&reply).unwrap().remove(0) {
        Event::CheckWords(words) => words.join(" "),
        other => panic!("{other:?}"),
    };
    let asks = sends(joiner.approve(request).unwrap()).remove(0);
    inviter.on_message(&asks, &mut invitation, NOW).unwrap();
    let admits = sends(inviter.approve(admission).unwrap()).remove(0);
    joiner.on_message(&admits).unwrap();
    let adopted = sends(joiner.adopted().unwrap()).remove(0);
    let (j, i) = ("joiner", "inviter");
    let said = vec![(j, hello), (i, answer), (j, proof), (i, reply), (j, asks), (i, admits), (j, adopted)];
    (said, words)
}

#[test]
#[ignore = "writes protocol/vectors/pairing anew"]
fn write_the_pairing_vectors() {
    let code: Code = Code::new([1, 2, 3, 4, 5, 6, 7, 8], vec![]).unwrap();
    let request = JoinRequest { keys: device(3).1, name: "Vitebsk 3".into(), former: None };
    let founder = issue(1, body(1, 1, Role::Coordinator));
    let admission = Admission {
        certificate: issue(1, body(1, 3, Role::Monitor)),
        authority: Authority::new(founder).unwrap().encode(),
        team_name: "Observers".into(),
        desk: DeskInfo { id: DeskId::from_bytes([0x55; 16]), epoch: 1, recipient: device(1).1.recipient },
        transport_secrets: vec![(1, [0x99; 32])],
        coordinator_names: vec![(device(1).1.device_id(), "Alena".into())],
        recovery: None,
        desk_identities: vec![],
        addresses: vec!["192.168.1.5:40123".into()],
    };
    let (said, words) = converse(&code, &request, &admission);
    let write = |name: &str, text: String| {
        std::fs::write(folder("pairing").join(format!("{name}.txt")), text).unwrap();
    };
    let head_with = |request: &JoinRequest, code: &Code, expect: &str, cause: &str, side: &str| {
        let seed = if side == "joiner" { "01" } else { "02" }.repeat(32);
        let mut text =
            format!("expect: {expect}\ncause: {cause}\nside: {side}\ncode: {code}\nseed: {seed}\n");
        text += &format!("request: {}\n", encode_hex(&request.encode()));
        text += &format!("admission: {}\n", encode_hex(&admission.encode()));
        text
    };
    let head_of =
        |code: &Code, expect: &str, cause: &str, side: &str| head_with(&request, code, expect, cause, side);
    let head = |expect: &str, cause: &str, side: &str| head_of(&code, expect, cause, side);
    let lines = |said: &[(&str, Vec<u8>)]| -> String {
        said.iter().map(|(who, message)| format!("{who}: {}\n", encode_hex(message))).collect()
    };
    for side in ["joiner", "inviter"] {
        let text = head("ok", "a whole pairing", side) + &format!("check-words: {words}\n\n");
        write(&format!("good-{side}"), text + &lines(&said));
    }
    let long = Code::long([0xa5; 16], vec!["192.168.1.5:40123".into(), "[::1]:2".into()]).unwrap();
    let (said_with_long, long_words) = converse(&long, &request, &admission);
    for side in ["joiner", "inviter"] {
        let head = head_of(&long, "ok", "a whole pairing with a long code", side);
        write(
            &format!("good-long-{side}"),
            head + &format!("check-words: {long_words}\n\n") + &lines(&said_with_long),
        );
    }
    let former = FormerDevice { device: device(4).1.device_id(), sequence: 300 };
    let restored = JoinRequest { former: Some(former), ..request.clone() };
    let (said_restored, words_restored) = converse(&code, &restored, &admission);
    for side in ["joiner", "inviter"] {
        let head = head_with(&restored, &code, "ok", "the newcomer was another device before", side);
        write(
            &format!("good-restored-{side}"),
            head + &format!("check-words: {words_restored}\n\n") + &lines(&said_restored),
        );
    }
    let cut = |upto: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut said = said[..=upto].to_vec();
        change(&mut said[upto].1);
        lines(&said)
    };
    let flip = |at: usize| move |message: &mut Vec<u8>| message[at] ^= 1;
    let last = |message: &mut Vec<u8>| {
        let at = message.len() - 1;
        message[at] ^= 1;
    };
    let bad = |name: &str, expect: &str, cause: &str, side: &str, lines: String| {
        write(name, head(expect, cause, side) + "\n" + &lines);
    };
    bad("hello-version", "version", "version 2", "inviter", cut(0, &|m| m[7] = 2));
    bad("hello-magic", "malformed", "another magic", "inviter", cut(0, &flip(1)));
    bad("hello-truncated", "malformed", "the last byte is missing", "inviter", cut(0, &|m| m.truncate(72)));
    bad("hello-side", "malformed", "the exchange of an inviter", "inviter", cut(0, &|m| m[40] = 0x42));
    bad("hello-extended", "malformed", "a byte follows", "inviter", cut(0, &|m| m.push(0)));
    bad("answer-side", "malformed", "the exchange of a joiner", "joiner", cut(1, &|m| m[33] = 0x41));
    bad("proof-wrong", "wrong-code", "the joiner's proof was altered", "inviter", cut(2, &last));
    bad("nonce-other", "altered", "not the nonce that was committed to", "inviter", cut(2, &flip(1)));
    bad("reply-wrong", "wrong-code", "the inviter's proof was altered", "joiner", cut(3, &last));
    bad(
        "reply-refusal",
        "refused",
        "the inviter refuses: wrong code",
        "joiner",
        cut(3, &|m| *m = vec![9, 1]),
    );
    bad("request-altered", "altered", "the request's tag was altered", "inviter", cut(4, &last));
    bad("admission-altered", "altered", "the admission's tag was altered", "joiner", cut(5, &last));
    bad("admission-reflected", "altered", "the joiner's own message comes back", "joiner", {
        let mut reflected = said[..5].to_vec();
        reflected.push(("inviter", said[4].1.clone()));
        lines(&reflected)
    });
    let first_last = |at: usize| said[at].1.clone();
    bad("out-of-order", "out-of-order", "a proof where the first message is due", "inviter", {
        lines(&[("joiner", first_last(2))])
    });
    let [a, b, c, d] = code.words().unwrap();
    let words = format!("{a} {b} {c} {d}");
    let text = |expect: &str, cause: &str, typed: &str| match expect {
        "ok" => format!("expect: ok\ncause: {cause}\ncode: {typed}\nwords: {words}\n\n"),
        _ => format!("expect: {expect}\ncause: {cause}\ncode: {typed}\n\n"),
    };
    let short = |word: &str| word[..4].to_owned();
    let typed = format!("{}  {}-{}. {} @ HOST:1, [::1]:2", a.to_uppercase(), short(b), short(c), short(d));
    write("code-typed-freely", text("ok", "case, separators and four letters of a word", &typed));
    write("code-three-words", text("not-a-code", "three words", &format!("{a}-{b}-{c}")));
    write(
        "code-unknown-word",
        text("not-a-code", "a word that is not on the list", &format!("{a}-{b}-{c}-xyzzy")),
    );
    write(
        "code-three-letters",
        text("not-a-code", "three letters of a word", &format!("{a}-{b}-{c}-{}", &d[..3])),
    );
    write(
        "code-bad-address",
        text("not-a-code", "an address without a port", &format!("{a}-{b}-{c}-{d}@host")),
    );
    let secret = "a5".repeat(16);
    let veil = encode_hex(&*long.veil_key().unwrap());
    let long = long.to_string();
    let good = |text: &str| {
        format!("code: {text}\nsecret: {secret}\nveil: {veil}\naddresses: 192.168.1.5:40123 [::1]:2\n\n")
    };
    write("code-long", format!("expect: ok\ncause: a long code with two addresses\n{}", good(&long)));
    let typed = long.to_lowercase().replace('0', "o").replace('1', "L").replace('a', " a").replace('5', "5-");
    write(
        "code-long-typed-freely",
        format!("expect: ok\ncause: case, separators, O for 0, L for 1\n{}", good(&typed)),
    );
    let slip = long.replacen('A', "B", 1);
    write("code-long-slip", text("not-a-code", "a letter of a long code is another", &slip));
    write(
        "code-long-cut",
        text("not-a-code", "the last letter of a long code is missing", &long[..long.len() - 1]),
    );
    write("code-long-version", text("version", "a long code of version 1", VERSION_1));
}

/// A long code whose body is of version 1, with which nothing was veiled.
const VERSION_1: &str = "MPJTB9D5MPJTB9D5MPJTB9D5MM5CZWMQXH5FRY7YV1KRHF02M73NPSX160X95DCNW3P7MGA5XVR1NZFX";
