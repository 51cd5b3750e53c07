//! What the events of one transaction add up to, as far as somebody wants to know.

use std::{collections::HashMap, sync::Arc};

use super::{
    super::{fields::words, header},
    payload::Payload,
    query,
    rows::{Rows, Shape},
    statement::{self, Said, Targets},
    table::{self, Table},
};
use crate::model::{ChangeKind, TablePattern};

/// Which changes are looked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of these tables; of all when there is none.
    pub table: Option<TablePattern>,
    /// Of this kind; of any when there is none.
    pub kind: Option<ChangeKind>,
}

/// Something that a transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub kind: ChangeKind,
    /// To which tables, or to `schema.*`; empty for users, routines and the like.
    pub tables: Vec<String>,
    /// How many rows, when the events of rows tell.
    pub rows: Option<u64>,
    /// Whether there may be more rows, or tables, than are told of.
    pub at_least: bool,
    /// Whether it was told by the text of a statement that changes rows: rows are not counted, and
    /// what triggers did is not seen.
    pub by_text: bool,
    /// The statement, or the first one, as far as it is in the binary log: its first 4 KiB.
    pub statement: Option<String>,
    /// How many statements.
    pub statements: u64,
    /// The last one that was counted.
    last: u64,
}

/// Changes of one transaction that are told apart, at most.
const MOST_CHANGES: usize = 500;
/// Bytes of a statement that are told.
const TOLD: usize = 4 << 10;
/// Tables that a statement names, and that are told, at most.
const MOST_NAMES: usize = 100;
/// Bytes of a `Table_map` at most: 4,096 columns with all that is known of them.
const TABLE_MAP: usize = 4 << 20;
/// Tables that are known at once, at most.
const MOST_TABLES: usize = 1 << 16;
/// The number of no table, in an event that only ends a statement.
const NO_TABLE: u64 = 0xff_ffff;

#[derive(Debug)]
enum Event {
    Passed,
    /// Kept up to its end, or as much of it.
    Kept {
        kind: u8,
        body: Vec<u8>,
        most: usize,
        cut: bool,
    },
    /// Until it is known which table it is of.
    Head {
        shape: Shape,
        body: Vec<u8>,
    },
    Rows(Box<Rows>, bool),
}

/// The transaction that is being read.
#[derive(Debug)]
pub(super) struct Tally {
    wanted: Wanted,
    /// Whether its beginning has been seen.
    begun: bool,
    /// What is not wanted has no columns.
    tables: HashMap<u64, Option<Arc<Table>>>,
    event: Event,
    payload: Option<Payload>,
    annotation: Option<String>,
    statements: u64,
    changes: Vec<Change>,
    more: bool,
}

impl Tally {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            begun: false,
            tables: HashMap::new(),
            event: Event::Passed,
            payload: None,
            annotation: None,
            statements: 0,
            changes: Vec::new(),
            more: false,
        }
    }

    /// A transaction begins.
    pub(super) fn opening(&mut self) {
        self.begun = true;
        self.clear();
    }

    /// It has ended: what it did, and whether it did more.
    pub(super) fn take(&mut self) -> (Vec<Change>, bool) {
        let changes = std::mem::take(&mut self.changes);
        let more = std::mem::take(&mut self.more);
        self.clear();
        (changes, more)
    }

    fn clear(&mut self) {
        self.tables.clear();
        self.annotation = None;
        self.changes.clear();
        self.more = false;
    }

    /// An event of the file begins.
    pub(super) fn begin_outer(&mut self, kind: u8) {
        if kind == header::TRANSACTION_PAYLOAD {
            self.payload = Some(Payload::new());
            self.event = Event::Passed;
        } else {
            self.begin(kind);
        }
    }

    /// An event within a compressed transaction begins.
    pub(super) fn begin_inner(&mut self, kind: u8) -> Result<(), String> {
        if kind == header::TRANSACTION_PAYLOAD {
            return Err("a compressed transaction within a compressed transaction".into());
        }
        self.begin(kind);
        Ok(())
    }

    /// The next bytes of the body of an event of the file, its checksum left out.
    pub(super) fn bytes_outer(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Some(mut payload) = self.payload.take() else { return self.bytes(bytes) };
        payload.feed(bytes, self)?;
        self.payload = Some(payload);
        Ok(())
    }

    pub(super) fn end_outer(&mut self) -> Result<(), String> {
        match self.payload.take() {
            Some(payload) => payload.end(),
            None => self.end(),
        }
    }

    fn begin(&mut self, kind: u8) {
        let kept = |most| Event::Kept { kind, body: Vec::new(), most, cut: false };
        self.event = match kind {
            _ if !self.begun => Event::Passed,
            header::TABLE_MAP => kept(TABLE_MAP),
            header::QUERY | header::EXECUTE_LOAD_QUERY | header::MARIADB_QUERY_COMPRESSED => {
                kept(query::KEPT)
            }
            header::ROWS_QUERY | header::MARIADB_ANNOTATE_ROWS => kept(TOLD + 1),
            _ => match Shape::of(kind).filter(|shape| shape.kind.answers(self.wanted.kind)) {
                Some(shape) => Event::Head { shape, body: Vec::new() },
                None => Event::Passed,
            },
        };
    }

    /// The next bytes of the body.
    pub(super) fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        if let Event::Head { shape, body } = &mut self.event {
            let now = (8 - body.len()).min(bytes.len());
            body.extend_from_slice(&bytes[..now]);
            bytes = &bytes[now..];
            let Ok(head) = <[u8; 8]>::try_from(body.as_slice()) else { return Ok(()) };
            let shape = *shape;
            self.event = self.rows(shape, head)?;
        }
        match &mut self.event {
            Event::Passed | Event::Head { .. } => {}
            Event::Kept { body, most, cut, .. } => {
                let room = most.saturating_sub(body.len());
                *cut |= room < bytes.len();
                body.extend_from_slice(&bytes[..room.min(bytes.len())]);
            }
            Event::Rows(rows, _) => rows.feed(bytes),
        }
        Ok(())
    }

    fn rows(&mut self, shape: Shape, head: [u8; 8]) -> Result<Event, String> {
        let id = table::id(&head).unwrap_or(NO_TABLE);
        let ends = head[6] & 1 != 0;
        match self.tables.get(&id) {
            Some(Some(table)) => {
                Ok(Event::Rows(Box::new(Rows::new(shape, Arc::clone(table))), ends))
            }
            None if id != NO_TABLE => Err("rows of a table that no event describes".into()),
            _ => Ok(Event::Passed),
        }
    }

    /// The event has ended.
    pub(super) fn end(&mut self) -> Result<(), String> {
        match std::mem::replace(&mut self.event, Event::Passed) {
            Event::Passed => {}
            Event::Head { .. } => return Err("an event of rows is cut off".into()),
            Event::Rows(rows, ends) => {
                self.counted(&rows);
                if ends {
                    self.tables.clear();
                }
            }
            Event::Kept { kind: header::TABLE_MAP, body, cut, .. } => self.table_map(&body, cut)?,
            Event::Kept { kind: header::ROWS_QUERY, body, .. } => {
                // Its length, which has too few bits.
                self.annotate(body.get(1..).unwrap_or_default());
            }
            Event::Kept { kind: header::MARIADB_ANNOTATE_ROWS, body, .. } => self.annotate(&body),
            Event::Kept { kind, body, cut, .. } => {
                let query = query::read(kind, &body, cut).ok_or("a statement is malformed")?;
                if let Some(said) = statement::read(&query.text, query.cut) {
                    self.said(&query, &said);
                }
            }
        }
        Ok(())
    }

    fn table_map(&mut self, body: &[u8], cut: bool) -> Result<(), String> {
        let garbled = "a description of a table is malformed";
        let id = table::id(body).ok_or(garbled)?;
        let (schema, name) = table::names(body).ok_or(garbled)?;
        let wanted = self.wanted.table.as_ref().is_none_or(|table| table.is_table(&schema, &name));
        let table = if wanted && !cut {
            Some(Arc::new(Table::parse(body).ok_or(garbled)?))
        } else if wanted {
            return Err("a description of a table is too long".into());
        } else {
            None
        };
        if self.tables.len() >= MOST_TABLES {
            self.tables.clear();
        }
        self.tables.insert(id, table);
        Ok(())
    }

    fn annotate(&mut self, text: &[u8]) {
        self.annotation = Some(told(text));
        self.statements += 1;
    }

    fn counted(&mut self, rows: &Rows) {
        let (table, counted) = (rows.table(), rows.end());
        let tables = vec![format!("{}.{}", table.schema, table.name)];
        let annotation = self.annotation.clone();
        let last = self.statements;
        let Some(change) = self.change(rows.kind(), tables, false) else { return };
        change.rows = Some(change.rows.unwrap_or_default().saturating_add(counted.rows));
        change.at_least |= counted.at_least;
        if annotation.is_some() && change.last != last {
            change.last = last;
            change.statements += 1;
            change.statement = change.statement.take().or(annotation);
        }
    }

    /// The change to add to.
    fn change(
        &mut self,
        kind: ChangeKind,
        tables: Vec<String>,
        by_text: bool,
    ) -> Option<&mut Change> {
        let known = self.changes.iter().position(|change| {
            (change.kind, change.by_text) == (kind, by_text) && change.tables == tables
        });
        if known.is_none() {
            if self.changes.len() >= MOST_CHANGES {
                self.more = true;
                return None;
            }
            self.changes.push(Change {
                kind,
                tables,
                rows: None,
                at_least: false,
                by_text,
                statement: None,
                statements: 0,
                last: 0,
            });
        }
        match known {
            Some(at) => self.changes.get_mut(at),
            None => self.changes.last_mut(),
        }
    }

    fn said(&mut self, query: &query::Query, said: &Said) {
        if !said.kind.answers(self.wanted.kind) || !self.is_wanted(query, said) {
            return;
        }
        let schema = |named: &Option<String>| named.as_ref().unwrap_or(&query.schema).clone();
        let (tables, untold) = match &said.targets {
            Targets::Nothing => (Vec::new(), false),
            Targets::Schema(name) => (vec![format!("{name}.*")], false),
            Targets::Untold => (Vec::new(), true),
            Targets::Tables(names) => {
                let mut tables: Vec<String> = Vec::new();
                for (named, table) in names {
                    let name = format!("{}.{table}", schema(named));
                    if tables.len() < MOST_NAMES && !tables.contains(&name) {
                        tables.push(name);
                    }
                }
                (tables, names.len() > MOST_NAMES)
            }
        };
        let by_text =
            matches!(said.kind, ChangeKind::Insert | ChangeKind::Update | ChangeKind::Delete);
        let text = match said.targets {
            Targets::Nothing => without_secrets(&query.text),
            _ => told(&query.text),
        };
        let Some(change) = self.change(said.kind, tables, by_text) else { return };
        change.statement.get_or_insert(text);
        change.statements += 1;
        change.at_least |= untold;
    }

    fn is_wanted(&self, query: &query::Query, said: &Said) -> bool {
        let Some(wanted) = &self.wanted.table else { return true };
        match &said.targets {
            Targets::Nothing => false,
            Targets::Untold => true,
            Targets::Schema(name) => {
                wanted.is_schema(name)
                    && (said.kind == ChangeKind::Drop || wanted.is_whole_schema())
            }
            Targets::Tables(names) => names.iter().any(|(schema, name)| {
                wanted.is_table(schema.as_ref().unwrap_or(&query.schema), name)
            }),
        }
    }
}

fn told(text: &[u8]) -> String {
    let mut shown = words(&text[..text.len().min(TOLD)]);
    if text.len() > TOLD {
        // Whole characters only.
        shown.truncate(shown.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
        shown.push('…');
    }
    shown
}

/// A statement up to where it may name a password.
fn without_secrets(text: &[u8]) -> String {
    let secret = ["IDENTIFIED", "PASSWORD", "OPTIONS"].iter().filter_map(|word| {
        text.windows(word.len()).position(|at| at.eq_ignore_ascii_case(word.as_bytes()))
    });
    match secret.min() {
        Some(end) => told(&text[..end]) + "…",
        None => told(text),
    }
}
