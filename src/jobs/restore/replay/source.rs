//! The archived bytes of a way, file by file, as events.

use crate::{
    format::LogRange,
    mysql::{
        MysqlError,
        replication::{Captured, Events},
    },
};

/// Bytes before the first event of a file.
const MAGIC: u64 = 4;

/// Reads the pieces of a way one after another.
#[derive(Debug, Default)]
pub(in crate::jobs::restore) struct Source {
    events: Option<Events>,
    /// Bytes of the piece that are known already, or are no event.
    skip: u64,
}

impl Source {
    /// Whether the next piece goes on where the last one ended, so that no format description
    /// is needed for it.
    pub(in crate::jobs::restore) fn goes_on_with(
        &self,
        last: Option<&LogRange>,
        next: &LogRange,
    ) -> bool {
        let same = |a: &LogRange| {
            (&a.server, &a.file, a.created) == (&next.server, &next.file, next.created)
        };
        next.start > 0
            && last.is_some_and(same)
            && self.events.as_ref().is_some_and(|events| {
                events.is_between() && next.start <= events.offset() && events.offset() < next.end
            })
    }

    /// Begins a piece. `format_description` is that of its file, when the piece neither has it nor
    /// goes on from the one before.
    ///
    /// # Errors
    /// When it is none.
    pub(in crate::jobs::restore) fn begin(
        &mut self,
        range: &LogRange,
        goes_on: bool,
        format_description: Option<&[u8]>,
    ) -> Result<(), MysqlError> {
        match (&self.events, format_description) {
            (Some(events), _) if goes_on => self.skip = events.offset().saturating_sub(range.start),
            (_, Some(event)) if range.start > 0 => {
                self.skip = 0;
                self.events = Some(Events::resume(range.file.to_string(), range.start, event)?);
            }
            _ => {
                self.skip = MAGIC.saturating_sub(range.start);
                self.events = Some(Events::new(range.file.to_string(), range.start.max(MAGIC)));
            }
        }
        Ok(())
    }

    /// Takes bytes of the piece, and hands on what they are.
    ///
    /// # Errors
    /// When they are damaged, or `take` fails.
    pub(in crate::jobs::restore) fn feed<E: From<MysqlError>>(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(Captured) -> Result<(), E>,
    ) -> Result<(), E> {
        let known = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= known as u64;
        bytes = &bytes[known..];
        let Some(events) = &mut self.events else { return Ok(()) };
        while let Some(captured) = events.take(&mut bytes)? {
            take(captured)?;
        }
        Ok(())
    }
}
