//! Who writes in which text: two windows with one text would take away from each other what is kept of it, and be told
//! that it is safe.

use fieldbook_proto::ReportId;

use super::server::Connection;
use crate::error::Failure;

/// The code of the refusal.
pub const BEING_WRITTEN: &str = "being-written";

/// The texts that living connections have open.
#[derive(Debug, Default)]
pub struct Writers(Vec<(Connection, ReportId, String)>);

impl Writers {
    /// This connection writes in a text from now on.
    ///
    /// # Errors
    /// Another one does.
    pub fn begin(&mut self, connection: Connection, report: ReportId, field: &str) -> Result<(), Failure> {
        self.refuse(connection, |other, text| *other == report && text == field)?;
        let mine = (connection, report, field.to_owned());
        if !self.0.contains(&mine) {
            self.0.push(mine);
        }
        Ok(())
    }

    /// The reports in which somebody writes.
    pub fn reports(&self) -> Vec<ReportId> {
        self.0.iter().map(|(_, report, _)| *report).collect()
    }

    /// # Errors
    /// Another connection writes in some text of this report.
    pub fn nobody_else(&self, connection: Connection, report: ReportId) -> Result<(), Failure> {
        self.refuse(connection, |other, _| *other == report)
    }

    /// A connection ended.
    pub fn gone(&mut self, connection: Connection) {
        self.0.retain(|(writer, ..)| *writer != connection);
    }

    fn refuse(&self, connection: Connection, is: impl Fn(&ReportId, &str) -> bool) -> Result<(), Failure> {
        if self.0.iter().any(|(writer, report, field)| *writer != connection && is(report, field)) {
            return Err(Failure::failed(BEING_WRITTEN, "this text is being written in another window")
                .hint("go on there; or save and leave there first, and come back"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_writer_until_that_one_is_gone() {
        let (one, other) = (ReportId::from_bytes([1; 16]), ReportId::from_bytes([2; 16]));
        let mut writers = Writers::default();
        writers.begin(1, one, "narrative").unwrap();
        writers.begin(1, one, "narrative").unwrap();
        assert_eq!(writers.begin(2, one, "narrative").unwrap_err().code, BEING_WRITTEN);
        assert_eq!(writers.nobody_else(2, one).unwrap_err().code, BEING_WRITTEN);
        writers.nobody_else(1, one).unwrap();
        writers.begin(2, one, "ask").unwrap();
        writers.begin(2, other, "narrative").unwrap();
        writers.gone(1);
        writers.begin(2, one, "narrative").unwrap();
    }
}
