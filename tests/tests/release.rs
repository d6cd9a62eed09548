//! A release as its users meet it: checked with stock tools, altered by somebody on the way. And as its makers do:
//! packed by two of them. That two builds give the same program takes two builds, and is `scripts/reproduce`.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use fieldbook_tests::{Machine, Run, binary, run};

use crate::making::text;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository")
}

/// `scripts/release …`
fn release(args: &[&OsStr]) -> Command {
    let mut command = Command::new(root().join("scripts/release"));
    command.args(args);
    command
}

/// A stock tool, in a directory.
fn tool(dir: &Path, line: &str) -> Run {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().expect("a tool"));
    command.args(words).current_dir(dir).env("LC_ALL", "C");
    run(command, b"")
}

/// The one file of a release whose name ends so.
fn one(dir: &Path, end: &str) -> PathBuf {
    let files = fs::read_dir(dir).expect("the release").map(|entry| entry.expect("a file").path());
    let mut found = files.filter(|path| text(path).ends_with(end));
    let path = found.next().unwrap_or_else(|| panic!("no {end}"));
    assert!(found.next().is_none(), "two of {end}");
    path
}

fn alter(path: &Path, alter: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    alter(&mut bytes);
    fs::write(path, bytes).expect("a file");
}

#[test]
fn two_people_pack_the_same_archive_and_what_somebody_altered_is_refused_by_stock_tools() {
    let machine = Machine::new("Maintainer");
    let (program, another) = (machine.path("fieldbook"), machine.path("a copy"));
    // Without what only debuggers read, it is packed sooner.
    tool(machine.root(), &format!("strip -o {} {}", text(&program), text(&binary::path()))).exits(0);
    fs::copy(&program, &another).expect("a copy");
    fs::set_permissions(&another, fs::Permissions::from_mode(0o700)).expect("another mode");

    // One, and another with a mask, a time zone, a language and a time of theirs.
    let (dir, theirs) = (machine.path("release"), machine.path("in/another/place"));
    run(release(&["pack".as_ref(), program.as_ref(), dir.as_ref()]), b"").exits(0);
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(root().join("scripts/release"));
    command.arg("pack").arg(&another).arg(&theirs);
    command.envs([("TZ", "Asia/Kathmandu"), ("LC_ALL", "C.UTF-8"), ("SOURCE_DATE_EPOCH", "1")]);
    run(command, b"").exits(0);
    let archive = one(&dir, ".tar.gz");
    assert!(fs::read(&archive).expect("it") == fs::read(one(&theirs, ".tar.gz")).expect("theirs"));
    let sums = fs::read_to_string(dir.join("SHA256SUMS")).expect("checksums");
    assert_eq!(sums, fs::read_to_string(theirs.join("SHA256SUMS")).expect("theirs"));
    assert_eq!(sums.lines().count(), 3, "{sums}");

    // A user has the archive and the checksums, and no directory yet.
    let name =
        archive.file_name().and_then(OsStr::to_str).expect("a name").trim_end_matches(".tar.gz").to_owned();
    fs::remove_dir_all(dir.join(&name)).expect("the maintainer's directory");
    let listed =
        tool(&dir, &format!("tar --list --verbose --numeric-owner -zf {name}.tar.gz")).exits(0).out();
    for line in listed.lines() {
        assert!(line.contains(" 0/0 ") && line.contains(&format!(" {name}/")), "{line}");
    }
    // The archive is judged before it is unpacked: one that brings checksums of its own would put them in the others' place.
    let own = fs::read(&archive).expect("the archive");
    fs::create_dir(dir.join("evil")).expect("a directory");
    fs::write(dir.join("evil/SHA256SUMS"), "evil\n").expect("checksums");
    tool(&dir, &format!("tar -C evil -czf {name}.tar.gz SHA256SUMS")).exits(0);
    let before = "sha256sum --check --strict --ignore-missing SHA256SUMS";
    let refused = tool(&dir, before).exits(1);
    assert!(refused.out().contains(&format!("{name}.tar.gz: FAILED")), "{refused:?}");
    fs::write(&archive, own).expect("the archive");
    fs::remove_dir_all(dir.join("evil")).expect("the evil directory");
    assert_eq!(tool(&dir, before).exits(0).out().matches(": OK").count(), 2);
    tool(&dir, &format!("tar -xzf {name}.tar.gz")).exits(0);
    tool(&dir, "sha256sum --check --strict SHA256SUMS").exits(0);
    let version = tool(&dir.join(&name), "./fieldbook --version").exits(0).out();
    assert_eq!(name, format!("{}-{}-linux", version.trim().replace(' ', "-"), std::env::consts::ARCH));
    for file in ["docs/handbook/src/SUMMARY.md", "protocol/veil.md"] {
        assert!(dir.join(&name).join(file).is_file());
    }

    // Signed by the maintainer; a stranger has a key too.
    for whose in ["maintainer", "stranger"] {
        tool(machine.root(), &format!("minisign -G -W -p {whose}.pub -s {whose}.key")).exits(0);
    }
    let key = |name: &str| machine.root().join(name);
    let sign = |secret: &str, public: &str| {
        let (secret, public) = (key(secret), key(public));
        run(release(&["sign".as_ref(), secret.as_ref(), public.as_ref(), dir.as_ref()]), b"")
    };
    let verify = |whose: &str| tool(&dir, &format!("minisign -V -p {} -m SHA256SUMS", text(&key(whose))));
    // Nobody has looked whether what it is made of is known to be vulnerable.
    let looked_up = dir.join("VULNERABILITIES-LOOKED-UP");
    for other in [None, Some("another commit\n")] {
        other.into_iter().for_each(|other| fs::write(&looked_up, other).expect("a file"));
        let refused = sign("maintainer.key", "maintainer.pub").exits(1);
        assert!(refused.err().contains("were not looked up"), "{refused:?}");
    }
    let made_by = fs::read_to_string(one(&dir, ".buildinfo")).expect("it");
    let commit = made_by.lines().find_map(|line| line.strip_prefix("commit ")).expect("its commit");
    fs::write(&looked_up, format!("{commit}\n")).expect("a file");
    sign("stranger.key", "maintainer.pub").exits(1);
    verify("maintainer.pub").exits(2);
    sign("maintainer.key", "maintainer.pub").exits(0);
    let said = verify("maintainer.pub").exits(0).out();
    assert!(said.contains(&version.trim().replace("fieldbook", "fieldbook version")), "{said}");
    assert!(said.contains(" commit "), "{said}");
    verify("stranger.pub").exits(1);

    // On the way one bit of the program changes, then the checksums too, then what the signature says of the version.
    alter(&archive, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let refused = tool(&dir, "sha256sum --check --strict --ignore-missing SHA256SUMS").exits(1);
    assert!(refused.out().contains(&format!("{name}.tar.gz: FAILED")), "{refused:?}");
    // What is not the checksums' is not signed either.
    let refused = sign("maintainer.key", "maintainer.pub").exits(1);
    assert!(refused.err().contains("nothing was signed"), "{refused:?}");
    verify("maintainer.pub").exits(0);
    let new = tool(&dir, &format!("sha256sum {name}.tar.gz")).exits(0).out();
    alter(&dir.join("SHA256SUMS"), |bytes| {
        let rest = sums.lines().skip(1).fold(String::new(), |all, line| all + line + "\n");
        *bytes = (new + &rest).into_bytes();
    });
    tool(&dir, "sha256sum --check --strict SHA256SUMS").exits(0);
    verify("maintainer.pub").exits(1);
    fs::write(dir.join("SHA256SUMS"), &sums).expect("the checksums");
    verify("maintainer.pub").exits(0);
    alter(&dir.join("SHA256SUMS.minisig"), |bytes| {
        let comment = String::from_utf8(bytes.clone()).expect("text").replace("version 0", "version 9");
        *bytes = comment.into_bytes();
    });
    verify("maintainer.pub").exits(1);
}

#[test]
fn a_program_that_names_the_machine_it_was_built_on_or_not_what_it_is_made_of_is_no_release() {
    // The one that tests use has the paths of its source.
    let refused = run(release(&["inspect".as_ref(), binary::path().as_ref()]), b"").exits(1);
    assert!(refused.err().contains("the binary names /"), "{refused:?}");
    assert!(refused.err().contains("/src/"), "{refused:?}");
    // One that has none, but no list of what it is made of.
    let refused = run(release(&["inspect".as_ref(), "/bin/true".as_ref()]), b"").exits(1);
    assert!(refused.err().contains("no list of its dependencies"), "{refused:?}");
}

/// A list as `cargo auditable` writes it, of all of Cargo.lock, with something done to it, against two lines of
/// `cargo tree`.
fn audited(machine: &Machine, done: &str) -> Run {
    let make = format!(
        "import json, sys, tomllib, zlib\n\
         packages = [dict(name=p['name'], version=p['version'], source='crates.io' if 'source' in p else 'local',\n\
         \x20               root=p['name'] == 'fieldbook') for p in tomllib.load(open('Cargo.lock', 'rb'))['package']]\n\
         age = next(p for p in packages if p['name'] == 'age')\n\
         print(age['version'], file=sys.stderr)\n\
         {done}\n\
         sys.stdout.buffer.write(zlib.compress(json.dumps(dict(packages=packages)).encode()))\n"
    );
    let mut command = Command::new("python3");
    command.args(["-c", &make]).current_dir(root());
    let made = run(command, b"").exits(0);
    let section = machine.path("section");
    fs::File::create(&section).expect("a file").write_all(&made.stdout).expect("a file");
    let mut command = Command::new("python3");
    command.arg("scripts/audited.py").arg(section).arg("Cargo.lock").current_dir(root());
    let tree = format!("fieldbook v{} (/somewhere)\nage v{}", env!("CARGO_PKG_VERSION"), made.err());
    run(command, tree.as_bytes())
}

#[test]
fn a_list_of_dependencies_that_is_not_the_lock_files_is_told() {
    let machine = Machine::new("Maintainer");
    let said = audited(&machine, "").exits(0).out();
    assert!(said.contains("all as in Cargo.lock"), "{said}");
    for (done, told) in [
        ("age['version'] = '0.0.1'", "age 0.0.1 from crates.io is not in Cargo.lock"),
        ("age['source'] = 'git'", "from git is not in Cargo.lock"),
        ("packages.remove(age)", "is in the program, and not in its list"),
        ("age['root'] = True", "its root is not fieldbook"),
    ] {
        let refused = audited(&machine, done).exits(1);
        assert!(refused.err().contains(told), "{done}: {refused:?}");
    }
}
