//! The limits of a report. A value beyond one is refused before anything is written, so that the
//! change which carries it always fits one sealed entry (1 MiB).

/// Longest narrative, in bytes of UTF-8.
pub const NARRATIVE_MAX: usize = 512 * 1024;
/// Longest text of one field, person detail or list item, in bytes.
pub const FIELD_MAX: usize = 16 * 1024;
/// Longest title, in bytes.
pub const TITLE_MAX: usize = 2 * 1024;
/// Longest question or note, in bytes.
pub const NOTE_MAX: usize = 8 * 1024;
/// Most questions and notes of one report.
pub const NOTES_MAX: usize = 1_000;
/// Longest name of a field or of a person's detail, in bytes.
pub const NAME_MAX: usize = 128;
/// Longest language tag (BCP 47), in bytes.
pub const LANGUAGE_MAX: usize = 35;
/// Most fields of one report.
pub const FIELDS_MAX: usize = 256;
/// Most items of one list.
pub const LIST_MAX: usize = 500;
/// Deepest nesting of a field's value.
pub const DEPTH_MAX: usize = 8;
/// Most people of one report.
pub const PEOPLE_MAX: usize = 500;
/// Most details of one person beyond name, role and consent.
pub const PERSON_EXTRA_MAX: usize = 64;
/// Most sources of one report.
pub const SOURCES_MAX: usize = 500;
/// Longest source, in bytes.
pub const SOURCE_MAX: usize = 4 * 1024;
/// Most attachments of one report.
pub const ATTACHMENTS_MAX: usize = 1_000;
/// Most parts of one attachment (of at most 1 MiB each, so 8 GiB).
pub const PARTS_MAX: usize = 8_192;
/// Largest report as given in one piece of JSON, and largest sum of one edit, in bytes.
pub const INPUT_MAX: usize = 768 * 1024;
/// Largest document or batch of changes that is accepted from outside, in bytes, compressed or not.
pub const DOCUMENT_MAX: usize = 8 * 1024 * 1024;
