//! What can be done with a terminal beyond writing lines.

/// Whether this terminal understands where a row is, as far as its name tells.
pub fn draws() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// What empties so many rows, each where it is: a screen that is emptied as a whole goes into what some terminals remember.
pub fn emptied(rows: usize) -> String {
    (1..=rows).map(|row| format!("\x1b[{row};1H\x1b[0m\x1b[2K")).collect()
}
