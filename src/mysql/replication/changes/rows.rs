//! How many rows an event has, counted while its bytes stream by: of each value only the length is
//! looked at, so an event of 1 GB takes no more memory than a small one (MySQL sources,
//! `Rows_event`; MariaDB documentation, "ROWS_EVENT_V1/V2").

use std::sync::Arc;

use super::{
    super::{fields::Fields, header},
    table::{Cell, Table},
    unpack::{OUT, Unpack},
};
use crate::model::ChangeKind;

/// What kind of rows event a type code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) kind: ChangeKind,
    /// Whether there is a second header, of variable length.
    extra: bool,
    /// Whether the second image of a row may hold parts of JSON values.
    partial: bool,
    /// Whether the rows are compressed, as MariaDB does it.
    compressed: bool,
}

impl Shape {
    pub(super) fn of(kind: u8) -> Option<Self> {
        use ChangeKind::{Delete, Insert, Update};
        let (kind, extra, compressed) = match kind {
            header::WRITE_ROWS_V1 => (Insert, false, false),
            header::UPDATE_ROWS_V1 => (Update, false, false),
            header::DELETE_ROWS_V1 => (Delete, false, false),
            header::WRITE_ROWS => (Insert, true, false),
            header::UPDATE_ROWS => (Update, true, false),
            header::DELETE_ROWS => (Delete, true, false),
            header::PARTIAL_UPDATE_ROWS => {
                let shape = Self { kind: Update, extra: true, partial: true, compressed: false };
                return Some(shape);
            }
            header::MARIADB_WRITE_ROWS_COMPRESSED_V1 => (Insert, false, true),
            header::MARIADB_UPDATE_ROWS_COMPRESSED_V1 => (Update, false, true),
            header::MARIADB_DELETE_ROWS_COMPRESSED_V1 => (Delete, false, true),
            header::MARIADB_WRITE_ROWS_COMPRESSED => (Insert, true, true),
            header::MARIADB_UPDATE_ROWS_COMPRESSED => (Update, true, true),
            header::MARIADB_DELETE_ROWS_COMPRESSED => (Delete, true, true),
            _ => return None,
        };
        Some(Self { kind, extra, partial: false, compressed })
    }
}

/// Where the counter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Extra,
    Width,
    /// Which columns there are, of this image.
    Present(usize),
    /// Of compressed rows: how long they are when they are unpacked.
    Packed,
    /// The options of a second image, and which of its JSON values are parts.
    Options,
    Parts,
    Nulls,
    /// The length of the next value whose length differs: its column's number among those present.
    Cell(usize),
    /// Nothing more can be told.
    Lost,
}

/// What a row begins with.
const BEGIN: At = At::Nulls;

/// An event that is being counted, from behind its table's number and flags.
#[derive(Debug)]
pub(super) struct Rows {
    shape: Shape,
    table: Arc<Table>,
    at: At,
    /// Bytes of one field, until it is whole.
    field: Vec<u8>,
    skip: u64,
    width: usize,
    /// The values of each image: how they are kept.
    images: [Vec<Cell>; 2],
    image: usize,
    nulls: Vec<u8>,
    complete: u64,
    unpack: Option<Unpack>,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) rows: u64,
    /// Whether there may be more.
    pub(super) at_least: bool,
}

/// Columns of a table at most.
const WIDEST: u64 = 4096;

impl Rows {
    pub(super) fn new(shape: Shape, table: Arc<Table>) -> Self {
        Self {
            shape,
            table,
            at: if shape.extra { At::Extra } else { At::Width },
            field: Vec::new(),
            skip: 0,
            width: 0,
            images: [Vec::new(), Vec::new()],
            image: 0,
            nulls: Vec::new(),
            complete: 0,
            unpack: None,
        }
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    pub(super) fn kind(&self) -> ChangeKind {
        self.shape.kind
    }

    pub(super) fn feed(&mut self, mut input: &[u8]) {
        if self.unpack.is_none() {
            self.count(&mut input);
        }
        let Some(mut unpack) = self.unpack.take() else { return };
        let mut out = [0; OUT];
        // What is left is packed.
        while self.at != At::Lost {
            match unpack.run(&mut input, &mut out) {
                Ok(0) => break,
                Ok(count) => self.count(&mut &out[..count]),
                Err(_) => self.at = At::Lost,
            }
        }
        self.unpack = Some(unpack);
    }

    /// What there was. An event that exists has a row, whatever it looks like.
    pub(super) fn end(&self) -> Counted {
        let between = self.at == BEGIN && self.image == 0;
        let whole = between && self.skip == 0 && self.field.is_empty() && self.complete > 0;
        Counted { rows: self.complete.max(1), at_least: !whole }
    }

    fn count(&mut self, input: &mut &[u8]) {
        while !input.is_empty() && self.at != At::Lost {
            if self.skip > 0 {
                let now = usize::try_from(self.skip).unwrap_or(usize::MAX).min(input.len());
                *input = &input[now..];
                self.skip -= now as u64;
                continue;
            }
            let Some(needed) = self.needed() else {
                self.at = At::Lost;
                return;
            };
            let now = needed.saturating_sub(self.field.len()).min(input.len());
            self.field.extend_from_slice(&input[..now]);
            *input = &input[now..];
            if self.field.len() < needed {
                continue;
            }
            // A length may say only now how many bytes it takes.
            if self.needed() == Some(needed) {
                let field = std::mem::take(&mut self.field);
                self.at = self.step(&field).unwrap_or(At::Lost);
                self.field = field;
                self.field.clear();
                if self.unpack.is_some() && self.at == BEGIN && self.complete == 0 {
                    return;
                }
            }
        }
    }

    /// How many bytes the next field takes, as far as is known.
    fn needed(&self) -> Option<usize> {
        let packed = || match self.field.first() {
            Some(0xfc) => Some(3),
            Some(0xfd) => Some(4),
            Some(0xfe) => Some(9),
            Some(0xfb | 0xff) => None,
            _ => Some(1),
        };
        Some(match self.at {
            At::Extra => 2,
            At::Width | At::Options => packed()?,
            At::Present(_) => self.width.div_ceil(8),
            At::Packed => 1 + self.field.first().map_or(0, |first| usize::from(first & 7)),
            At::Parts => self.table.json.div_ceil(8),
            At::Nulls => self.images[self.image].len().div_ceil(8),
            At::Cell(column) => match self.images[self.image].get(column)? {
                Cell::Prefixed(bytes) => usize::from(*bytes),
                _ => return None,
            },
            At::Lost => return None,
        })
    }

    fn step(&mut self, field: &[u8]) -> Option<At> {
        let mut fields = Fields(field);
        match self.at {
            At::Extra => {
                // It counts itself.
                self.skip = u64::from(fields.u16()?.checked_sub(2)?);
                Some(At::Width)
            }
            At::Width => {
                let width = fields.length_encoded().filter(|width| (1..=WIDEST).contains(width))?;
                self.width = usize::try_from(width).ok()?;
                Some(At::Present(0))
            }
            At::Present(image) => {
                let columns = self.table.columns.iter().take(self.width).enumerate();
                let present = columns.filter(|(n, _)| bit(field, *n)).map(|(_, cell)| *cell);
                self.images[image] = present.collect();
                let given = (0..self.width).filter(|n| bit(field, *n)).count();
                // A row without any value takes no bytes: such rows cannot be counted.
                if self.images[image].is_empty() || given != self.images[image].len() {
                    return None;
                }
                if image == 0 && self.shape.kind == ChangeKind::Update {
                    return Some(At::Present(1));
                }
                Some(if self.shape.compressed { At::Packed } else { BEGIN })
            }
            At::Packed => {
                // 0x80, the algorithm (0: zlib), and the length's length; then the length.
                if field.first()? & 0xf0 != 0x80 {
                    return None;
                }
                self.unpack = Some(Unpack::zlib());
                Some(BEGIN)
            }
            At::Options => {
                let parts = fields.length_encoded()? & 1 != 0 && self.table.json > 0;
                Some(if parts { At::Parts } else { At::Nulls })
            }
            At::Parts => Some(At::Nulls),
            At::Nulls => {
                self.nulls.clear();
                self.nulls.extend_from_slice(field);
                self.cells(0)
            }
            At::Cell(column) => {
                self.skip = fields.uint(field.len())?;
                self.cells(column + 1)
            }
            At::Lost => None,
        }
    }

    /// From this value on: skips what is of known length, up to one that is not, or the row's end.
    fn cells(&mut self, from: usize) -> Option<At> {
        let image = &self.images[self.image];
        for (column, cell) in image.iter().enumerate().skip(from) {
            if bit(&self.nulls, column) {
                continue;
            }
            match cell {
                Cell::Fixed(bytes) => self.skip += u64::from(*bytes),
                Cell::Prefixed(_) => return Some(At::Cell(column)),
                Cell::Unknown => return None,
            }
        }
        if self.shape.kind == ChangeKind::Update && self.image == 0 {
            self.image = 1;
            return Some(if self.shape.partial { At::Options } else { At::Nulls });
        }
        self.image = 0;
        self.complete += 1;
        Some(BEGIN)
    }
}

fn bit(bits: &[u8], at: usize) -> bool {
    bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}
