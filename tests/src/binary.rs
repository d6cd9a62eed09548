//! Where the program under test is.

use std::env;
use std::path::PathBuf;

/// The `fieldbook` program: `$FIELDBOOK_BIN`, else the one that was built beside this test.
///
/// # Panics
/// It is not there.
pub fn path() -> PathBuf {
    let path = env::var_os("FIELDBOOK_BIN").map_or_else(beside_this_test, PathBuf::from);
    assert!(
        path.is_file(),
        "{} is not there: build the program first (cargo build -p fieldbook), or run scripts/test",
        path.display()
    );
    path
}

/// Tests lie in target/PROFILE/deps, the program in target/PROFILE.
fn beside_this_test() -> PathBuf {
    let mut dir = env::current_exe().expect("the path of this test");
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    dir.join(format!("fieldbook{}", env::consts::EXE_SUFFIX))
}
