//! QR codes as text: on a screen, and in files that somebody prints.

use qrcodegen::{QrCode, QrCodeEcc};

/// Light modules around the code, without which cameras do not find it.
const QUIET: i32 = 4;
/// Black on white, whatever the terminal's own colours are; ends with the line.
const COLOURS: (&str, &str) = ("\x1b[30;47m", "\x1b[0m");

/// The code for a terminal: lines of half blocks with their colours, two modules high and one wide
/// each. Text in capitals gives a smaller code. None when the text is too long for a code (about
/// 2,900 bytes).
pub fn terminal(text: &str) -> Option<String> {
    let (on, off) = COLOURS;
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    Some(lines(&code).map(|line| format!("{on}{line}{off}\n")).collect())
}

/// The code for paper: the same without colours, for black print on white, and with a better
/// protection against stains. None when the text is too long for a code (about 2,300 bytes).
pub fn paper(text: &str) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    Some(lines(&code).map(|line| format!("{}\n", line.trim_end())).collect())
}

fn lines(code: &QrCode) -> impl Iterator<Item = String> + '_ {
    let range = -QUIET..code.size() + QUIET;
    // Outside the code, qrcodegen gives light modules.
    range.clone().step_by(2).map(move |y| {
        range
            .clone()
            .map(|x| match (code.get_module(x, y), code.get_module(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The modules back from the text, by row; true is dark.
    fn modules(drawn: &str) -> Vec<Vec<bool>> {
        let mut rows = Vec::new();
        for line in drawn.lines() {
            let line = line.trim_start_matches(COLOURS.0).trim_end_matches(COLOURS.1);
            rows.push(line.chars().map(|c| matches!(c, '█' | '▀')).collect());
            rows.push(line.chars().map(|c| matches!(c, '█' | '▄')).collect());
        }
        rows
    }

    #[test]
    fn what_is_drawn_is_the_code_with_its_quiet_zone() {
        for (drawn, level) in
            [(terminal("ABBEY ROAD 1"), QrCodeEcc::Low), (paper("ABBEY ROAD 1"), QrCodeEcc::Medium)]
        {
            let code = QrCode::encode_text("ABBEY ROAD 1", level).unwrap();
            let rows = modules(&drawn.unwrap());
            let dark = |x: i32, y: i32| {
                let row = &rows[usize::try_from(y + QUIET).unwrap()];
                row.get(usize::try_from(x + QUIET).unwrap()).copied().unwrap_or(false)
            };
            for y in -QUIET..code.size() + QUIET {
                for x in -QUIET..code.size() + QUIET {
                    assert_eq!(dark(x, y), code.get_module(x, y), "{x}, {y}");
                }
            }
        }
    }

    #[test]
    fn every_line_carries_its_colours_and_paper_has_none() {
        let drawn = terminal("x").unwrap();
        assert!(drawn.lines().all(|line| line.starts_with(COLOURS.0) && line.ends_with(COLOURS.1)));
        assert!(!paper("x").unwrap().contains('\x1b'));
    }

    #[test]
    fn a_text_that_no_code_can_hold_gives_none() {
        assert!(terminal(&"x".repeat(3_000)).is_none());
        assert!(paper(&"x".repeat(3_000)).is_none());
    }
}
