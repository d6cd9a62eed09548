//! How an addendum names what it supplements: by the number that the report has in the publication, as
//! ids of the team's reports are not published.

use serde::{Deserialize, Serialize};

use super::redact::RedactOptions;
use crate::view::ReportView;

/// What an addendum supplements, as readers of the publication can know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Supplements {
    /// The report of this [`PublicReport::number`].
    Report(usize),
    /// A report that is not in this publication.
    Elsewhere,
}

/// What the addendum supplements; nothing for a report that is none.
pub(super) fn supplements(view: &ReportView, options: &RedactOptions) -> Option<Supplements> {
    let id = view.addendum_to.as_ref()?;
    let place = options.ids.iter().position(|known| known == id);
    Some(place.map_or(Supplements::Elsewhere, |index| Supplements::Report(index + 1)))
}

/// The places, from 1, of the addenda whose reports are not among these.
pub(super) fn alone(views: &[ReportView], options: &RedactOptions) -> Vec<usize> {
    let alone = |view| supplements(view, options) == Some(Supplements::Elsewhere);
    views.iter().zip(1..).filter(|(view, _)| alone(view)).map(|(_, number)| number).collect()
}
