//! When to cut: tails, segments, and what is let go of.

use std::time::Instant;

use tokio::task::JoinHandle;

use super::{
    super::{merged::merged, range::RangeBuilder},
    CATCHING_UP, SEGMENT_AGE, Segment, Shipper, Tail,
};
use crate::{
    format::{LogEntry, SegmentData, SegmentEntry, TailEntry},
    pipeline::{
        PipelineError,
        budget::{SEGMENT_BYTES, TAIL_BYTES},
        log::{SegmentSealer, TailSealer},
    },
};

impl Shipper {
    pub(super) async fn close_file(&mut self) -> Result<(), PipelineError> {
        self.closed = true;
        self.flush().await?;
        self.close_segment().await
    }

    /// Nothing has come for a moment.
    pub(in crate::jobs::archive) async fn starved(&mut self) -> Result<(), PipelineError> {
        self.waited = true;
        if self.bulk && self.is_between_events() {
            self.leave_bulk().await?;
        }
        Ok(())
    }

    /// Caught up: what is in the segment becomes durable now, and tails go on from there.
    pub(super) async fn leave_bulk(&mut self) -> Result<(), PipelineError> {
        self.close_segment().await?;
        self.settled().await?;
        self.bulk = false;
        Ok(())
    }

    /// The source was waited for, if only for an instant.
    pub(in crate::jobs::archive) fn waited(&mut self) {
        self.waited = true;
    }

    /// Whether a segment is being filled.
    pub(in crate::jobs::archive) fn is_filling(&self) -> bool {
        self.segment.is_some()
    }

    /// Whether catching up leaves tails out.
    pub(in crate::jobs::archive) fn is_bulk(&self) -> bool {
        self.bulk
    }

    /// When the tail is due.
    pub(in crate::jobs::archive) fn due(&self) -> Option<Instant> {
        self.tail.as_ref().filter(|tail| tail.bytes > 0).map(|tail| tail.since + self.rpo)
    }

    /// Ships what is due; called in between.
    pub(in crate::jobs::archive) async fn tick(&mut self) -> Result<(), PipelineError> {
        if self.is_between_events() && self.due().is_some_and(|due| due <= Instant::now()) {
            self.flush().await?;
        }
        if self.finishing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.settled().await?;
        }
        let old = |segment: &Segment| segment.since.elapsed() >= SEGMENT_AGE;
        if self.is_between_events() && self.segment.as_ref().is_some_and(old) {
            self.flush().await?;
            self.close_segment().await?;
        }
        Ok(())
    }

    /// Whether no transaction is open.
    pub(in crate::jobs::archive) fn is_between_groups(&self) -> bool {
        self.is_between_events() && !self.cut && self.file.is_some()
    }

    pub(super) fn is_between_events(&self) -> bool {
        self.event.is_empty() && !self.large && self.opening.is_none()
    }

    pub(super) async fn cut_if_full(&mut self) -> Result<(), PipelineError> {
        self.large = false;
        if self.opening.is_some() {
            return Ok(());
        }
        let ripe = |segment: &Segment| segment.since.elapsed() >= CATCHING_UP;
        if self.bulk && self.waited && self.segment.as_ref().is_none_or(ripe) {
            self.leave_bulk().await?;
        }
        let full = self.tail.as_ref().is_some_and(|tail| tail.bytes >= TAIL_BYTES as u64);
        if full || self.due().is_some_and(|due| due <= Instant::now()) {
            self.flush().await?;
            if full && !self.waited {
                // Always more to take than time to take it: the archive is behind.
                self.bulk = true;
            }
            self.waited = false;
        }
        let long = |segment: &Segment| segment.sealer.plain_bytes() >= SEGMENT_BYTES;
        if self.segment.as_ref().is_some_and(long) {
            self.flush().await?;
            self.close_segment().await?;
        }
        Ok(())
    }

    /// Makes the tail durable.
    pub(in crate::jobs::archive) async fn flush(&mut self) -> Result<(), PipelineError> {
        let Some(tail) = self.tail.take() else { return Ok(()) };
        let (Some(file), true) = (&self.file, tail.bytes > 0 && self.opening.is_none()) else {
            if tail.bytes > 0 {
                self.tail = Some(tail);
            }
            return Ok(());
        };
        let range = tail.range.finish(file, self.at, self.cut, self.closed);
        let (body, sealed) = tail.sealer.finish()?;
        self.append(LogEntry::Tail(TailEntry { range, sealed }), Some(body)).await?;
        Ok(())
    }

    /// Begins to complete the segment; the one before has to be complete first.
    pub(in crate::jobs::archive) async fn close_segment(&mut self) -> Result<(), PipelineError> {
        let (Some(segment), Some(file)) = (self.segment.take(), self.file.clone()) else {
            return Ok(());
        };
        if segment.range.start() == self.at || self.opening.is_some() {
            self.segment = Some(segment);
            return Ok(());
        }
        let range = segment.range.finish(&file, self.at, self.cut, self.closed);
        self.settled().await?;
        self.finishing = Some(tokio::spawn(async move { (range, segment.sealer.finish().await) }));
        Ok(())
    }

    /// Waits for the segment that is being completed, and records it.
    pub(in crate::jobs::archive) async fn settled(&mut self) -> Result<(), PipelineError> {
        let Some(finishing) = self.finishing.take() else { return Ok(()) };
        let (range, data) = finishing.await.map_err(|_| PipelineError::Worker)?;
        let data = data?;
        if let SegmentData::Object { sealed, .. } = &data {
            self.status.segment(sealed.bytes);
        }
        self.append(LogEntry::Segment(SegmentEntry { range, data }), None).await?;
        Ok(())
    }

    /// Ships everything: the job ends, or hands over.
    pub(in crate::jobs::archive) async fn finish(&mut self) -> Result<(), PipelineError> {
        if self.is_between_events() {
            self.flush().await?;
            self.close_segment().await?;
        }
        self.settled().await?;
        if self.segment.is_some() {
            // In the middle of an event: whoever goes on reads it again.
            self.abandon().await;
        }
        Ok(())
    }

    /// Lets go of everything that is not durable: it is captured again later.
    pub(in crate::jobs::archive) async fn abandon(&mut self) {
        self.tail = None;
        self.event.clear();
        self.group = None;
        (self.bulk, self.large) = (false, false);
        if let Some(finishing) = self.finishing.take() {
            finishing.abort();
            let _ = finishing.await;
        }
        if let Some(segment) = self.segment.take() {
            segment.sealer.abort().await;
        }
        self.name = None;
        self.at = 0;
        self.status.abandoned();
        self.skim = None;
        self.opening = None;
    }

    /// The connection is gone: ships what came whole. What has not is captured again.
    pub(in crate::jobs::archive) async fn source_lost(&mut self) -> Result<(), PipelineError> {
        if self.large || self.opening.is_some() {
            self.settled().await?;
            self.abandon().await;
            return Ok(());
        }
        self.event.clear();
        self.group = None;
        self.flush().await?;
        if self.bulk {
            self.leave_bulk().await?;
        }
        Ok(())
    }

    /// Tails that nobody will put into a segment any more stay for good: says so in the log.
    pub(in crate::jobs::archive) async fn promote(&mut self) -> Result<(), PipelineError> {
        self.settled().await?;
        let filling = self.segment.as_ref().map(|_| self.name.clone());
        let files = self.writer.state().files.clone();
        for file in files.iter().filter(|file| !file.tails.is_empty()) {
            if filling == Some(Some(file.open.file.clone())) {
                continue;
            }
            let range = merged(file);
            let data = SegmentData::Tails(file.open.tails.clone());
            self.note(LogEntry::Segment(SegmentEntry { range, data })).await?;
        }
        Ok(())
    }

    pub(super) fn tail_mut(&mut self) -> Result<&mut Tail, PipelineError> {
        match &mut self.tail {
            Some(tail) => Ok(tail),
            none => Ok(none.insert(Tail {
                sealer: TailSealer::new(self.writer.run())?,
                range: RangeBuilder::new(self.at, self.flavor),
                bytes: 0,
                since: Instant::now(),
            })),
        }
    }

    pub(super) fn segment_mut(&mut self) -> Result<&mut Segment, PipelineError> {
        match &mut self.segment {
            Some(segment) => Ok(segment),
            none => {
                let name = self.name.as_ref().ok_or(PipelineError::Worker)?;
                let sealer = SegmentSealer::new(self.writer.run(), &self.server, name, self.at)?;
                Ok(none.insert(Segment {
                    sealer,
                    range: RangeBuilder::new(self.at, self.flavor),
                    since: Instant::now(),
                }))
            }
        }
    }
}
