//! What can be done with a terminal beyond writing lines.

use std::os::fd::AsFd;

use rustix::termios::tcgetwinsize;

/// The columns and rows of a terminal that does not say how many it has.
const SIZE: (usize, usize) = (80, 24);
/// More is not used, whatever a terminal says.
const SIZE_MAX: usize = 1000;

/// Columns and rows.
pub fn size(of: impl AsFd) -> (usize, usize) {
    let told = tcgetwinsize(of).map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
    match told {
        Ok((columns @ 1.., rows @ 1..)) => (columns.min(SIZE_MAX), rows.min(SIZE_MAX)),
        _ => SIZE,
    }
}

/// Whether this terminal understands where a row is, as far as its name tells.
pub fn draws() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// What empties so many rows, each where it is: a screen that is emptied as a whole goes into what some terminals remember.
pub fn emptied(rows: usize) -> String {
    (1..=rows).map(|row| format!("\x1b[{row};1H\x1b[0m\x1b[2K")).collect()
}
