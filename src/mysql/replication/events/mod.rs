//! From bytes to events: pure, and for any cutting of the bytes.

mod made_up;

use std::{collections::VecDeque, mem};

use bytes::Bytes;
use crc32fast::Hasher;

use super::{
    super::MysqlError,
    captured::{Captured, EventEnd, Meaning},
    groups::{Groups, Sign},
    header::{CHECKSUM, FLAGS_AT, FORMAT_DESCRIPTION, HEADER, Header, IN_USE},
    meaning::{self, Keep},
};

/// The most bytes in one piece of an event.
const PIECE: usize = 64 << 10;

/// Reads events of one binary log after another. A dump feeds it what the server sends; what was
/// archived can be fed to it as well (all but the first four bytes of a file).
#[derive(Debug)]
pub struct Events {
    file: String,
    /// Where the next event of the file begins.
    offset: u64,
    /// Whether events carry a CRC32, once a format description has said so.
    checksums: Option<bool>,
    /// The file that must come next, when the last event of this one named it.
    next: Option<String>,
    /// The server has not yet confirmed the first file.
    unconfirmed: bool,
    /// No format description will come: the first event tells whether there are checksums.
    headless: bool,
    groups: Groups,
    header: Vec<u8>,
    event: Option<Event>,
    ready: VecDeque<Captured>,
}

/// An event that is being read.
#[derive(Debug)]
struct Event {
    header: Header,
    role: Role,
    /// The header, and as much of the body as its meaning takes.
    kept: Vec<u8>,
    keep: usize,
    /// Bytes that are still to come.
    left: u64,
    /// Whether the header was yielded.
    begun: bool,
    sum: Hasher,
    /// The last bytes, which hold the checksum if there is one.
    tail: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// In the file: yielded as it comes.
    Streamed,
    /// In the file: yielded when it is whole.
    Held,
    /// Not in the file.
    MadeUp,
}

impl Events {
    /// Reads `file` from the event that begins at `offset` (at least 4). When that is not the
    /// first one, and events carry checksums, a format description has to come first all the same.
    #[must_use]
    pub fn new(file: impl Into<String>, offset: u64) -> Self {
        Self {
            file: file.into(),
            offset,
            checksums: None,
            next: None,
            unconfirmed: false,
            headless: false,
            groups: Groups::default(),
            header: Vec::with_capacity(HEADER),
            event: None,
            ready: VecDeque::new(),
        }
    }

    /// Reads `file` from an event in its middle, with the format description that it begins with.
    ///
    /// # Errors
    /// When that is no format description.
    pub fn resume(
        file: impl Into<String>,
        offset: u64,
        format_description: &[u8],
    ) -> Result<Self, MysqlError> {
        let mut events = Self::new(file, offset);
        let mut event = format_description.to_vec();
        if event.len() < HEADER + CHECKSUM || event[4] != FORMAT_DESCRIPTION {
            return Err(events.damaged("its first event is no format description"));
        }
        events.checksums = Some(events.format(&mut event, true)?.checksums);
        Ok(events)
    }

    /// The same for a dump, where the server says first which file it sends.
    pub(super) fn of_dump(file: impl Into<String>, offset: u64) -> Self {
        Self { unconfirmed: true, ..Self::new(file, offset) }
    }

    /// Reads bytes that are known to be as a server wrote them, from the event that begins at
    /// `offset`, without the beginning of their file: whether events carry a CRC32 is told by the
    /// first one, whose last four bytes are its CRC32 or, once in four billion, by chance.
    #[must_use]
    pub fn headless(file: impl Into<String>, offset: u64) -> Self {
        Self { headless: true, ..Self::new(file, offset) }
    }

    /// Whether events carry a CRC32, as far as is known.
    #[must_use]
    pub fn checksums(&self) -> Option<bool> {
        self.checksums
    }

    /// The file that is being read.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Where the event that is being read, or comes next, begins in the file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether all that was taken belongs to whole events.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.event.is_none() && self.header.is_empty()
    }

    /// Takes bytes from the front of `input` until there is something to yield; nothing when
    /// the input is used up.
    ///
    /// # Errors
    /// [`MysqlError::Damaged`]: a checksum does not hold, bytes are missing, or an event that
    /// has to be understood is not.
    pub fn take(&mut self, input: &mut &[u8]) -> Result<Option<Captured>, MysqlError> {
        loop {
            if let Some(captured) = self.ready.pop_front() {
                return Ok(Some(captured));
            }
            if let Some(mut event) = self.event.take() {
                if event.left > 0 && input.is_empty() {
                    self.event = Some(event);
                    return Ok(None);
                }
                self.go_on(&mut event, input);
                if event.left == 0 {
                    self.finish(event)?;
                } else {
                    self.event = Some(event);
                }
            } else if input.is_empty() {
                return Ok(None);
            } else {
                let missing = HEADER - self.header.len();
                self.header.extend_from_slice(split(input, missing));
                if let Ok(whole) = <[u8; HEADER]>::try_from(self.header.as_slice()) {
                    self.header.clear();
                    self.event = Some(self.begin(whole)?);
                }
            }
        }
    }

    pub(super) fn damaged(&self, why: impl Into<String>) -> MysqlError {
        MysqlError::Damaged { file: self.file.clone(), offset: self.offset, why: why.into() }
    }

    fn begin(&mut self, bytes: [u8; HEADER]) -> Result<Event, MysqlError> {
        let header = Header::parse(bytes).ok_or_else(|| self.damaged("no event begins here"))?;
        let length = u64::from(header.length);
        let role = if header.is_made_up(self.offset + length) {
            Role::MadeUp
        } else if header.kind == FORMAT_DESCRIPTION {
            Role::Held
        } else {
            Role::Streamed
        };
        if self.unconfirmed && role != Role::MadeUp {
            return Err(self.damaged("the server does not say which file it sends"));
        }
        let (keep, most) = match meaning::keep(header.kind) {
            Keep::Whole(most) => (most, most),
            Keep::Head(head) => (head, usize::MAX),
        };
        if header.length as usize > most {
            let why = format!("an event of type {} with {length} bytes", header.kind);
            return Err(self.damaged(why));
        }
        let mut kept = Vec::with_capacity(keep.min(header.length as usize));
        kept.extend_from_slice(&bytes);
        let mut sum = Hasher::new();
        sum.update(&bytes);
        if role == Role::Streamed {
            let kind = header.kind;
            self.ready.push_back(Captured::Event { offset: self.offset, length, kind });
        }
        let left = length - HEADER as u64;
        let tail = Vec::with_capacity(2 * CHECKSUM);
        Ok(Event { header, role, kept, keep, left, begun: false, sum, tail })
    }

    /// Takes what there is of an event, up to a piece.
    fn go_on(&mut self, event: &mut Event, input: &mut &[u8]) {
        let most = usize::try_from(event.left).unwrap_or(usize::MAX).min(PIECE - HEADER);
        let piece = split(input, most);
        event.left -= piece.len() as u64;
        event.sum_up(piece);
        if event.role == Role::Streamed {
            let bytes = if mem::replace(&mut event.begun, true) {
                Bytes::copy_from_slice(piece)
            } else {
                [&event.kept[..HEADER], piece].concat().into()
            };
            if !bytes.is_empty() {
                self.ready.push_back(Captured::Bytes(bytes));
            }
        }
        let room = event.keep.saturating_sub(event.kept.len()).min(piece.len());
        event.kept.extend_from_slice(&piece[..room]);
    }

    fn finish(&mut self, event: Event) -> Result<(), MysqlError> {
        match event.role {
            Role::MadeUp => self.made_up(event),
            Role::Held => self.format_description(event),
            Role::Streamed => self.ended(&event),
        }
    }

    /// A format description of the file: it is yielded when it is known to be whole.
    fn format_description(&mut self, mut event: Event) -> Result<(), MysqlError> {
        let format = self.format(&mut event.kept, true)?;
        let (offset, length) = (self.offset, u64::from(event.header.length));
        let kind = FORMAT_DESCRIPTION;
        self.ready.push_back(Captured::Event { offset, length, kind });
        self.ready.push_back(Captured::Bytes(mem::take(&mut event.kept).into()));
        self.checksums = Some(format.checksums);
        let meaning = Meaning::FormatDescription {
            server_version: format.server_version,
            created: event.header.timestamp,
            checksums: format.checksums,
        };
        self.yield_end(&event.header, meaning, Sign::Starts)
    }

    /// Reads a format description. Servers clear the flag "in use" for replicas, and so do we; the
    /// checksum is that of the cleared one, also in the file. It has one even where other events
    /// have none; but then the server does not keep it right in one that it sends again.
    fn format(&self, event: &mut [u8], in_file: bool) -> Result<meaning::Format, MysqlError> {
        event[FLAGS_AT] &= !IN_USE;
        let format = meaning::format(event).ok_or_else(|| {
            self.damaged("a format description that we do not understand: is the server older than MySQL 5.6 or MariaDB 10, or much newer?")
        })?;
        let (text, sum) = event.split_at(event.len() - CHECKSUM);
        if (format.checksums || in_file) && crc32fast::hash(text).to_le_bytes() != sum {
            return Err(self.damaged("the format description does not match its CRC32"));
        }
        Ok(format)
    }

    fn ended(&mut self, event: &Event) -> Result<(), MysqlError> {
        if self.headless {
            self.checksums.get_or_insert_with(|| event.holds());
        }
        let Some(checksums) = self.checksums else {
            return Err(self.damaged("an event comes before any format description"));
        };
        let length = event.header.length as usize;
        let checksum = if checksums { CHECKSUM } else { 0 };
        if checksums && !event.holds() {
            let why = format!(
                "the event of type {} with {length} bytes does not match its CRC32",
                event.header.kind
            );
            return Err(self.damaged(why));
        }
        let whole = event.kept.len() == length;
        let (meaning, sign) = meaning::read(&event.header, &event.kept, whole, checksum)
            .map_err(|why| self.damaged(why))?;
        if let Meaning::Rotate { next } = &meaning {
            self.next = Some(next.clone());
        }
        self.yield_end(&event.header, meaning, sign)
    }

    fn yield_end(
        &mut self,
        header: &Header,
        meaning: Meaning,
        sign: Sign<'_>,
    ) -> Result<(), MysqlError> {
        let begin = self.offset;
        let end = begin + u64::from(header.length);
        // Servers keep the low 32 bits of the true offset.
        #[expect(clippy::cast_possible_truncation, reason = "only these bits are in the event")]
        let low = end as u32;
        if header.end != low {
            let why = format!(
                "the event of type {} says that it ends at {}, and {end} was counted: the server left something out",
                header.kind, header.end
            );
            return Err(self.damaged(why));
        }
        let group = self.groups.step(sign, header.timestamp, begin, end);
        self.offset = end;
        self.ready.push_back(Captured::End(EventEnd {
            end,
            timestamp: header.timestamp,
            server_id: header.server_id,
            meaning,
            group,
            in_group: self.groups.is_open(),
        }));
        Ok(())
    }
}

impl Event {
    /// Sums up all but the last four bytes.
    fn sum_up(&mut self, piece: &[u8]) {
        let held = self.tail.len() + piece.len();
        let surplus = held.saturating_sub(CHECKSUM);
        let from_tail = surplus.min(self.tail.len());
        self.sum.update(&self.tail[..from_tail]);
        self.tail.drain(..from_tail);
        let (summed, rest) = piece.split_at(surplus - from_tail);
        self.sum.update(summed);
        self.tail.extend_from_slice(rest);
    }

    fn holds(&self) -> bool {
        self.tail == self.sum.clone().finalize().to_le_bytes()
    }
}

/// Takes up to `count` bytes from the front.
fn split<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(count.min(input.len()));
    *input = rest;
    taken
}
