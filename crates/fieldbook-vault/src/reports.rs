//! Reports as their user handles them: write, edit, finish, list, show.
//!
//! (It is one file because a report's row, its document and its way out change together.)

use fieldbook_proto::ReportId;
use fieldbook_proto::codec::{Reader, Writer};
use fieldbook_report::limits::{LANGUAGE_MAX, TITLE_MAX};
use fieldbook_report::{Edit, FieldValue, ReportDocument, ReportInput};
use fieldbook_seal::{Kind, ReadingIdentity, SealedEntry};
use rusqlite::{Connection, OptionalExtension, Row, params};
use zeroize::Zeroizing;

use crate::delivery::DeliveryIndex;
use crate::error::VaultError;
use crate::names::{Names, actor_of};
use crate::once::Once;
use crate::outgoing::{self, CHANGES_MAX, Outgoing};
use crate::rejoin;
use crate::sealing;
use crate::slots;
use crate::store;
use crate::team::Team;
use crate::vault::{Vault, now_ms};
use crate::views::{Created, HistoryView, ListFilter, ReportSummary, ShownReport};

use fieldbook_proto::DeviceId;
use fieldbook_proto::certificate::{Recipient, Role};
use fieldbook_proto::limits::RECIPIENT_MAX;

/// Why a report needs its author.
const CLASHES: &str = "two people changed the same thing: `fieldbook conflicts`";
const QUESTIONS: &str = "a coordinator asks something: `fieldbook show`, `fieldbook answer`";

/// A report's row, without its document.
pub(crate) struct ReportRow {
    pub number: i64,
    pub id: ReportId,
    pub author: DeviceId,
    pub finished: bool,
    pub template: String,
    pub sent_heads: Vec<[u8; 32]>,
    pub return_recipient: Option<Recipient>,
    summary: SummaryColumns,
}

struct SummaryColumns {
    title: String,
    language: String,
    date: String,
    created_ms: i64,
    updated_ms: i64,
    clashes: usize,
    people: usize,
    attachments: usize,
    questions: usize,
    sealed_ms: Option<i64>,
}

const COLUMNS: &str = "number, id, author, finished, template, sent_heads, return_recipient, title, language, \
                       date, created_ms, updated_ms, clashes, people, attachments, questions, \
                       (SELECT time_ms FROM sealed WHERE sealed.report = report.id)";

impl ReportRow {
    fn read(row: &Row<'_>) -> Result<Self, VaultError> {
        let return_recipient: Option<String> = row.get(6)?;
        Ok(Self {
            number: row.get(0)?,
            id: ReportId::from_bytes(store::array(&row.get::<_, Vec<u8>>(1)?, "a report id")?),
            author: DeviceId::from_bytes(store::array(&row.get::<_, Vec<u8>>(2)?, "a device id")?),
            finished: row.get(3)?,
            template: row.get(4)?,
            sent_heads: decode_heads(&row.get::<_, Vec<u8>>(5)?)?,
            return_recipient: return_recipient.map(|text| Recipient::parse(&text)).transpose()?,
            summary: SummaryColumns {
                title: row.get(7)?,
                language: row.get(8)?,
                date: row.get(9)?,
                created_ms: row.get(10)?,
                updated_ms: row.get(11)?,
                clashes: count(row.get(12)?),
                people: count(row.get(13)?),
                attachments: count(row.get(14)?),
                questions: count(row.get(15)?),
                sealed_ms: row.get(16)?,
            },
        })
    }

    pub fn find(db: &Connection, id: &ReportId) -> Result<Option<Self>, VaultError> {
        db.prepare_cached(&format!("SELECT {COLUMNS} FROM report WHERE id = ?1"))?
            .query_row([id.as_bytes()], |row| Ok(Self::read(row)))
            .optional()?
            .transpose()
    }

    /// The report with this id.
    pub fn get(db: &Connection, id: &ReportId) -> Result<Self, VaultError> {
        Self::find(db, id)?.ok_or_else(|| sealing::missing(db, id))
    }

    fn summary(
        &self,
        me: &DeviceId,
        names: &Names,
        deliveries: &DeliveryIndex,
        unsaved: bool,
    ) -> ReportSummary {
        let columns = &self.summary;
        let mut delivery = deliveries.of(self, me, names);
        if self.finished && deliveries.is_own(&self.author, me) {
            if columns.clashes > 0 {
                delivery.attention.push(CLASHES.to_owned());
            }
            if columns.questions > 0 {
                delivery.attention.push(QUESTIONS.to_owned());
            }
        }
        ReportSummary {
            id: self.id.to_string(),
            template: self.template.clone(),
            title: columns.title.clone(),
            language: columns.language.clone(),
            date: columns.date.clone(),
            state: if self.finished { "finished" } else { "draft" }.to_owned(),
            author_device: self.author.to_string(),
            author_label: names.device(&self.author),
            mine: deliveries.is_own(&self.author, me),
            created_ms: columns.created_ms,
            updated_ms: columns.updated_ms,
            clashes: columns.clashes,
            attachments: columns.attachments,
            people: columns.people,
            questions: columns.questions,
            unsaved,
            delivery,
            sealed_ms: columns.sealed_ms,
        }
    }
}

/// A count as SQLite keeps it, and back.
fn stored(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn count(stored: i64) -> usize {
    usize::try_from(stored).unwrap_or(0)
}

fn encode_heads(heads: &[[u8; 32]]) -> Vec<u8> {
    heads.concat()
}

fn decode_heads(bytes: &[u8]) -> Result<Vec<[u8; 32]>, VaultError> {
    bytes.chunks(32).map(|head| store::array(head, "a document's heads")).collect()
}

/// Reads a report's document, as this device's actor.
pub(crate) fn load_document(
    db: &Connection,
    me: &DeviceId,
    number: i64,
) -> Result<ReportDocument, VaultError> {
    Ok(ReportDocument::reopen(actor_of(me), &document_bytes(db, number)?)?)
}

/// A report's saved document.
pub(crate) fn document_bytes(db: &Connection, number: i64) -> Result<Vec<u8>, VaultError> {
    Ok(db
        .prepare_cached("SELECT bytes FROM document WHERE report = ?1")?
        .query_row([number], |row| row.get(0))?)
}

/// What is new about a report that has no row yet.
pub(crate) struct NewReport<'a> {
    pub id: ReportId,
    pub author: DeviceId,
    pub finished: bool,
    pub return_identity: Option<&'a ReadingIdentity>,
    pub import_hash: Option<[u8; 32]>,
}

/// Makes the row of a report; [`save_document`] fills in what follows from its document.
pub(crate) fn insert_report(db: &Connection, new: &NewReport<'_>) -> Result<i64, VaultError> {
    let return_secret = new.return_identity.map(ReadingIdentity::to_text);
    let return_recipient = new.return_identity.map(ReadingIdentity::recipient);
    db.prepare_cached(
        "INSERT INTO report (id, author, finished, template, title, language, date, created_ms, updated_ms, clashes,
                             people, attachments, sent_heads, return_secret, return_recipient, import_hash)
         VALUES (?1, ?2, ?3, '', '', '', '', ?4, ?4, 0, 0, 0, x'', ?5, ?6, ?7)",
    )?
    .execute(params![
        new.id.as_bytes(),
        new.author.as_bytes(),
        new.finished,
        now_ms(),
        return_secret.as_ref().map(|text| text.as_bytes()),
        return_recipient.as_ref().map(Recipient::as_str),
        new.import_hash.as_ref().map(<[u8; 32]>::as_slice),
    ])?;
    Ok(db.last_insert_rowid())
}

/// Saves a document and what lists, filters and search need of it. `sent`: whether everything in it
/// has been made into entries (or came from others), so that only later changes are to be sent.
pub(crate) fn save_document(
    db: &Connection,
    number: i64,
    document: &mut ReportDocument,
    sent: bool,
) -> Result<(), VaultError> {
    let view = document.view();
    let questions = crate::notes::waiting_for(db, number, document.actor(), &view.notes)?;
    let clashes = stored(document.clashes().len());
    let date = match view.field("date") {
        Some(FieldValue::Text(date)) => clip(date, TITLE_MAX),
        _ => "",
    };
    // Others' documents keep no limits of ours, and every list shows these.
    let (template, title) = (clip(&view.template, TITLE_MAX), clip(&view.title, TITLE_MAX));
    let mut body = String::new();
    collect_text(&serde_json::to_value(&view).unwrap_or_default(), &mut body);
    db.prepare_cached("INSERT OR REPLACE INTO document (report, bytes) VALUES (?1, ?2)")?
        .execute(params![number, document.save_for_others()?])?;
    db.prepare_cached(
        "UPDATE report SET template = ?2, title = ?3, language = ?4, date = ?5, updated_ms = ?6, clashes = ?7,
                           people = ?8, attachments = ?9, questions = ?10 WHERE number = ?1",
    )?
    .execute(params![
        number,
        template,
        title,
        clip(&view.language, LANGUAGE_MAX),
        date,
        now_ms(),
        clashes,
        stored(view.people.len()),
        stored(view.attachments.len()),
        stored(questions),
    ])?;
    let addendum_to = view.addendum_to.as_ref().and_then(|id| id.parse::<ReportId>().ok());
    db.prepare_cached("UPDATE report SET addendum_to = ?2 WHERE number = ?1")?
        .execute(params![number, addendum_to.as_ref().map(|id| id.as_bytes().as_slice())])?;
    if sent {
        db.prepare_cached("UPDATE report SET sent_heads = ?2 WHERE number = ?1")?
            .execute(params![number, encode_heads(&document.heads())])?;
    }
    db.prepare_cached("INSERT OR REPLACE INTO report_text (rowid, title, body) VALUES (?1, ?2, ?3)")?
        .execute(params![number, view.title, body])?;
    Ok(())
}

/// The beginning of a text, at most `max` bytes.
pub(crate) fn clip(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Every text of a report, for the search index.
fn collect_text(value: &serde_json::Value, out: &mut String) {
    match value {
        serde_json::Value::String(text) => {
            out.push_str(text);
            out.push('\n');
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect_text(item, out)),
        serde_json::Value::Object(map) => map.values().for_each(|item| collect_text(item, out)),
        _ => {}
    }
}

/// The body of a report entry: where the author can be answered, then automerge changes.
pub(crate) fn report_body(return_recipient: Option<&Recipient>, changes: &[u8]) -> Vec<u8> {
    let text = return_recipient.map_or("", Recipient::as_str);
    Writer::new().u16(u16::try_from(text.len()).unwrap_or(0)).raw(text.as_bytes()).raw(changes).finish()
}

/// Reads a report entry's body.
pub(crate) fn parse_report_body(body: &[u8]) -> Result<(Option<Recipient>, &[u8]), VaultError> {
    let mut reader = Reader::new(body);
    let len = usize::from(reader.u16("return recipient")?);
    if len > RECIPIENT_MAX {
        return Err(VaultError::damaged("a return recipient is too long"));
    }
    let text = std::str::from_utf8(reader.raw("return recipient", len)?)
        .map_err(|_| VaultError::damaged("a return recipient is not text"))?;
    let recipient = if text.is_empty() { None } else { Some(Recipient::parse(text)?) };
    Ok((recipient, reader.rest()))
}

/// Seals what a report's document has gained since it was last sent: for the desk, and, when a
/// coordinator wrote it, a copy that only the author's device can open while it still holds the
/// report's return identity.
pub(crate) fn queue_changes(
    vault: &Sender<'_>,
    db: &Connection,
    row: &ReportRow,
    document: &mut ReportDocument,
) -> Result<(), VaultError> {
    // Copies of a relay's vault may run beside each other, and each would go on with one chain.
    if vault.team.role() == Role::Relay {
        return Err(VaultError::RelayWritesNothing);
    }
    let chunks = document.changes_since(&row.sent_heads);
    let mine = row.author == vault.device.id();
    for changes in pack(chunks)? {
        let body = report_body(row.return_recipient.as_ref().filter(|_| mine), &changes);
        let mut to = vault.team.desk_audience();
        crate::shares::also_readers(db, vault.team, &vault.device.id(), row, &mut to)?;
        let (audience, recipients) = to;
        let (_, header) = outgoing::queue(
            db,
            vault.device,
            &Outgoing {
                kind: Kind::Report,
                report: Some(row.id),
                audience,
                body: &body,
                recipients: &recipients,
            },
        )?;
        let (Some(return_recipient), Some(author_recipient), false) =
            (&row.return_recipient, &vault.author_recipient, mine)
        else {
            continue;
        };
        let inner: SealedEntry =
            fieldbook_seal::seal(&header, &body, vault.device, std::slice::from_ref(return_recipient))?;
        let (audience, recipients) = vault.team.audience_of(row.author, author_recipient);
        outgoing::queue(
            db,
            vault.device,
            &Outgoing {
                kind: Kind::Return,
                report: Some(row.id),
                audience,
                body: inner.as_bytes(),
                recipients: &recipients,
            },
        )?;
    }
    Ok(())
}

/// What sealing needs of the vault, apart from its database, which is inside a transaction.
pub(crate) struct Sender<'a> {
    pub device: &'a fieldbook_seal::DeviceSecret,
    pub team: &'a Team,
    pub author_recipient: Option<Recipient>,
}

/// Joins changes into runs that fit an entry.
pub(crate) fn pack(chunks: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, VaultError> {
    let mut runs: Vec<Vec<u8>> = Vec::new();
    for chunk in chunks {
        if chunk.len() > CHANGES_MAX {
            return Err(VaultError::TooLarge { what: "one change of a report", limit: CHANGES_MAX });
        }
        match runs.last_mut() {
            Some(run) if run.len() + chunk.len() <= CHANGES_MAX => run.extend_from_slice(&chunk),
            _ => runs.push(chunk),
        }
    }
    Ok(runs)
}

impl Vault {
    /// Begins a draft. It stays on this device until it is finished.
    ///
    /// # Errors
    /// The input does not fit its template, or the store's.
    pub fn create_report(&mut self, input: &ReportInput) -> Result<ReportSummary, VaultError> {
        Ok(self.begin(input, None)?.summary)
    }

    /// The same; but whoever asks a second time gets the draft of the first time.
    ///
    /// # Errors
    /// As [`Vault::create_report`].
    pub fn create_report_once(
        &mut self,
        input: &ReportInput,
        once: &Once,
    ) -> Result<ReportSummary, VaultError> {
        Ok(self.begin(input, Some(once.draft()))?.summary)
    }

    /// Begins a draft from imported input; the same input is imported once.
    ///
    /// # Errors
    /// As [`Vault::create_report`].
    pub fn import_report(&mut self, source: &str) -> Result<Created, VaultError> {
        let input = ReportInput::from_json(source)?;
        self.begin(&input, Some(*blake3::hash(source.trim().as_bytes()).as_bytes()))
    }

    fn begin(&mut self, input: &ReportInput, import_hash: Option<[u8; 32]>) -> Result<Created, VaultError> {
        if let Some(hash) = import_hash {
            let known: Option<Vec<u8>> = self
                .db
                .prepare_cached("SELECT id FROM report WHERE import_hash = ?1")?
                .query_row([hash.as_slice()], |row| row.get(0))
                .optional()?;
            if let Some(known) = known {
                let id = ReportId::from_bytes(store::array(&known, "a report id")?);
                return Ok(Created { summary: self.summary(id)?, already_there: true });
            }
        }
        let mut random = [0; 16];
        slots::fill(&mut random)?;
        let id = ReportId::from_bytes(random);
        let mut seed = [0; 4];
        slots::fill(&mut seed)?;
        let mut person = u32::from_be_bytes(seed);
        // Person ids are unique within one report only, so a random start and a count will do.
        let mut person_ids = || {
            person = person.wrapping_add(1);
            format!("{person:08x}")
        };
        let mut document = ReportDocument::create(actor_of(&self.me), input, &mut person_ids, now_ms())?;
        let return_identity = ReadingIdentity::generate();
        let tx = self.db.transaction()?;
        let new = NewReport {
            id,
            author: self.me,
            finished: false,
            return_identity: Some(&return_identity),
            import_hash,
        };
        let number = insert_report(&tx, &new)?;
        save_document(&tx, number, &mut document, false)?;
        tx.commit()?;
        Ok(Created { summary: self.summary(id)?, already_there: false })
    }

    /// Changes a report. If it is finished, the change leaves as a sealed entry at the next sync.
    ///
    /// # Errors
    /// The change does not fit the template, or the store's. Nothing is changed then.
    pub fn edit(&mut self, id: ReportId, edits: &[Edit]) -> Result<ReportSummary, VaultError> {
        self.change(id, |document| Ok(document.edit(edits, now_ms())?))
    }

    /// The same; but whoever asks a second time changes nothing.
    ///
    /// # Errors
    /// As [`Vault::edit`].
    pub fn edit_once(
        &mut self,
        id: ReportId,
        edits: &[Edit],
        once: &Once,
    ) -> Result<ReportSummary, VaultError> {
        if once.is_done(&self.db)? {
            return self.summary(id);
        }
        self.change_and(id, |document| Ok(document.edit(edits, now_ms())?), |tx| once.done(tx))
    }

    /// Changes a report's document, saves it, and queues what is to be sent, in one transaction.
    pub(crate) fn change(
        &mut self,
        id: ReportId,
        act: impl FnOnce(&mut ReportDocument) -> Result<bool, VaultError>,
    ) -> Result<ReportSummary, VaultError> {
        self.change_and(id, act, |_| Ok(()))
    }

    /// As [`Vault::change`], with something else in the same transaction, whether or not anything changes.
    pub(crate) fn change_and(
        &mut self,
        id: ReportId,
        act: impl FnOnce(&mut ReportDocument) -> Result<bool, VaultError>,
        also: impl FnOnce(&Connection) -> Result<(), VaultError>,
    ) -> Result<ReportSummary, VaultError> {
        let author_recipient = self.author_recipient(&id)?;
        let tx = self.db.transaction()?;
        let row = ReportRow::get(&tx, &id)?;
        if row.author != self.me && self.team.as_ref().is_none_or(|team| team.role() != Role::Coordinator) {
            // Others would refuse it: also what this notebook wrote before it was restored is another device's.
            return Err(VaultError::NotYourReport);
        }
        let mut document = load_document(&tx, &self.me, row.number)?;
        if act(&mut document)? {
            if row.finished {
                let team = self.team.as_ref().ok_or(VaultError::NoTeam)?;
                team.desk_reads()?;
                let sender = Sender { device: &self.device, team, author_recipient };
                queue_changes(&sender, &tx, &row, &mut document)?;
            }
            save_document(&tx, row.number, &mut document, row.finished)?;
        }
        also(&tx)?;
        tx.commit()?;
        // It stands. Whoever heard of a failure now would do it once more; what the depot does not take is handed over at
        // the next occasion.
        let _ = self.flush();
        self.summary(id)
    }

    /// Finishes a draft: from now on it leaves the device at the next sync, sealed for the desk.
    /// Finishing a finished report does nothing.
    ///
    /// # Errors
    /// [`VaultError::NoTeam`]; [`VaultError::DeskClosed`] when nobody reads what is sent: it stays a draft;
    /// [`VaultError::Incomplete`] and [`VaultError::Unfinished`] unless `incomplete` is set; the store's.
    pub fn finish(&mut self, id: ReportId, incomplete: bool) -> Result<ReportSummary, VaultError> {
        let row = ReportRow::get(&self.db, &id)?;
        if row.finished {
            return self.summary(id);
        }
        rejoin::check(&self.db)?;
        if row.author != self.me {
            return Err(VaultError::NotYourReport);
        }
        let mut document = load_document(&self.db, &self.me, row.number)?;
        if !incomplete && crate::unfinished::is_left(&self.db, &id)? {
            return Err(VaultError::Unfinished { report: id.short() });
        }
        let missing = document.missing();
        if !missing.is_empty() && !incomplete {
            return Err(VaultError::Incomplete { missing });
        }
        self.team()?.desk_reads()?;
        for manifest in document.attachments() {
            if manifest.parts.is_empty() {
                let parts = self.seal_parts(&id, &manifest)?;
                document.edit(&[Edit::SetAttachmentParts { id: manifest.id, parts }], now_ms())?;
            }
        }
        let team = self.team.as_ref().ok_or(VaultError::NoTeam)?;
        let sender = Sender { device: &self.device, team, author_recipient: None };
        let tx = self.db.transaction()?;
        queue_changes(&sender, &tx, &row, &mut document)?;
        tx.prepare_cached("UPDATE report SET finished = 1 WHERE number = ?1")?.execute([row.number])?;
        save_document(&tx, row.number, &mut document, true)?;
        tx.commit()?;
        self.flush()?;
        self.summary(id)
    }

    /// The reports, newest change first.
    ///
    /// # Errors
    /// The store's.
    pub fn list(&self, filter: &ListFilter) -> Result<Vec<ReportSummary>, VaultError> {
        let sealed = match filter.state.as_deref() {
            Some("sealed") => return self.sealed_summaries(),
            None if filter.search.is_none() && filter.template.is_none() => self.sealed_summaries()?,
            _ => Vec::new(),
        };
        let names = self.names()?;
        let deliveries = self.deliveries()?;
        let left = crate::unfinished::all_left(&self.db)?;
        let finished = filter.state.as_deref().map(|state| state == "finished");
        let mut statement = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM report
             WHERE (?1 IS NULL OR finished = ?1) AND (?2 IS NULL OR template = ?2)
               AND (?3 IS NULL OR number IN (SELECT rowid FROM report_text WHERE report_text MATCH ?3))
             ORDER BY updated_ms DESC, number DESC"
        ))?;
        let search = filter.search.as_deref().map(search_expression).filter(|text| !text.is_empty());
        let mut rows = statement.query(params![finished, filter.template, search])?;
        let mut list = Vec::new();
        while let Some(row) = rows.next()? {
            let row = ReportRow::read(row)?;
            let unsaved = left.contains(row.id.as_bytes().as_slice());
            list.push(row.summary(&self.me, &names, &deliveries, unsaved));
        }
        list.extend(sealed);
        Ok(list)
    }

    /// One report as lists show it.
    ///
    /// # Errors
    /// [`VaultError::NoSuchReport`], or the store's.
    pub fn summary(&self, id: ReportId) -> Result<ReportSummary, VaultError> {
        let row = ReportRow::get(&self.db, &id)?;
        self.summary_of(&row, &self.names()?)
    }

    fn summary_of(&self, row: &ReportRow, names: &Names) -> Result<ReportSummary, VaultError> {
        let unsaved = crate::unfinished::is_any_left(&self.db, &row.id)?;
        Ok(row.summary(&self.me, names, &self.delivery(&row.id)?, unsaved))
    }

    /// One report, whole.
    ///
    /// # Errors
    /// [`VaultError::NoSuchReport`], or the store's.
    pub fn show(&self, id: ReportId) -> Result<ShownReport, VaultError> {
        let row = ReportRow::get(&self.db, &id)?;
        let mut document = load_document(&self.db, &self.me, row.number)?;
        let names = self.names()?;
        Ok(ShownReport {
            summary: self.summary_of(&row, &names)?,
            clashes: crate::clashes::view(&mut document, &names),
            notes: crate::notes::view(&document.view().notes, &self.me, &names),
            content: document.view(),
            unarrived: self.unarrived(&row)?,
            addenda: crate::addenda::addenda_of(&self.db, &id)?,
            unfinished: crate::unfinished::is_left(&self.db, &id)?,
        })
    }

    /// Every change of a report, oldest first.
    ///
    /// # Errors
    /// [`VaultError::NoSuchReport`], or the store's.
    pub fn history(&self, id: ReportId) -> Result<Vec<HistoryView>, VaultError> {
        let row = ReportRow::get(&self.db, &id)?;
        let document = load_document(&self.db, &self.me, row.number)?;
        let names = self.names()?;
        Ok(document
            .history()
            .into_iter()
            .map(|change| HistoryView { who: names.actor(&change.actor), change })
            .collect())
    }

    /// The report whose id begins with `prefix`.
    ///
    /// # Errors
    /// [`VaultError::NoSuchReport`], [`VaultError::Ambiguous`].
    pub fn find(&self, prefix: &str) -> Result<ReportId, VaultError> {
        let missing = || VaultError::NoSuchReport(prefix.chars().take(40).collect());
        // Sealed ones have a name too: what is asked of them gets an answer of its own.
        let known = "(SELECT id FROM report UNION SELECT report AS id FROM sealed)";
        store::id_by_prefix(&self.db, known, prefix, missing).map(ReportId::from_bytes)
    }

    /// The name of a report's template.
    ///
    /// # Errors
    /// [`VaultError::NoSuchReport`], or the store's.
    pub fn template_of(&self, id: ReportId) -> Result<String, VaultError> {
        Ok(ReportRow::get(&self.db, &id)?.template)
    }

    /// Where a coordinator answers the author of somebody else's report: the author's device.
    fn author_recipient(&self, id: &ReportId) -> Result<Option<Recipient>, VaultError> {
        let Some(row) = ReportRow::find(&self.db, id)? else { return Ok(None) };
        // Its author has sealed it: nobody there could open an answer.
        if row.summary.sealed_ms.is_some() {
            return Ok(None);
        }
        let Some(team) = &self.team else { return Ok(None) };
        // A device that was removed is told nothing, whoever has it now.
        if row.author == self.me || team.role() != Role::Coordinator || team.authority.is_removed(&row.author)
        {
            return Ok(None);
        }
        let certificate = self.certificate_of(&row.author)?;
        Ok(certificate.map(|certificate| certificate.body().keys.recipient.clone()))
    }

    /// The return identity of a report of this device, while it exists.
    pub(crate) fn return_identity(
        db: &Connection,
        id: &ReportId,
    ) -> Result<Option<ReadingIdentity>, VaultError> {
        let secret: Option<Option<Vec<u8>>> = db
            .prepare_cached("SELECT return_secret FROM report WHERE id = ?1")?
            .query_row([id.as_bytes()], |row| row.get(0))
            .optional()?;
        let Some(secret) = secret.flatten().map(Zeroizing::new) else { return Ok(None) };
        let text =
            std::str::from_utf8(&secret).map_err(|_| VaultError::damaged("a return identity is not text"))?;
        let identity = ReadingIdentity::parse(text)
            .map_err(|_| VaultError::damaged("a return identity does not read"))?;
        Ok(Some(identity))
    }
}

/// An FTS5 expression from what a person typed: all words, each as a prefix, nothing interpreted.
fn search_expression(typed: &str) -> String {
    let words: Vec<String> =
        typed.split_whitespace().map(|word| format!("\"{}\"*", word.replace('"', ""))).collect();
    words.join(" ")
}
