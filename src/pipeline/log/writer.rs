//! Extending the log: one record after another, each created only if nobody else has.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    state::{Applied, LogState},
    stored::{self, FoundRecord},
};
use crate::{
    format::{EpochEntry, LogEntry, LogRecord, Payload, layout},
    model::Timestamp,
    pipeline::{PipelineError, Run, repository::key},
    store::StoreErrorKind,
};

/// Who extends the log, and how far it has come.
#[derive(Debug)]
pub struct LogWriter {
    run: Arc<Run>,
    state: LogState,
    epoch: u64,
    requests: u64,
    bytes: u64,
}

impl LogWriter {
    /// Claims the log behind what was read. From then on every other writer is fenced.
    ///
    /// When the owner extends the log meanwhile, whoever claims it has to look again: it may be
    /// alive, and what was planned no longer holds. `insist` is for who claims it all the same, to
    /// resume wherever the owner has come to.
    ///
    /// # Errors
    /// `Fenced` when somebody else was quicker; `Unsettled` when the log has grown; the store's
    /// errors. The log comes back as far as it is known.
    pub async fn claim(
        run: Arc<Run>,
        state: LogState,
        mut claim: EpochEntry,
        insist: bool,
    ) -> Result<Self, (PipelineError, LogState)> {
        let epoch = state.epoch() + 1;
        let mut writer = Self { run, state, epoch, requests: 0, bytes: 0 };
        loop {
            match writer.append(LogEntry::Epoch(claim.clone()), None).await {
                Ok(_) => return Ok(writer),
                Err(PipelineError::Unsettled) if insist && writer.state.epoch() < epoch => {
                    claim.resumes = writer.state.durable();
                }
                Err(error) => return Err((error, writer.state)),
            }
        }
    }

    /// The log as it is with everything that was appended.
    #[must_use]
    pub fn state(&self) -> &LogState {
        &self.state
    }

    /// The run that signs.
    #[must_use]
    pub fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// The epoch of this writer.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Records written, and their bytes.
    #[must_use]
    pub fn written(&self) -> (u64, u64) {
        (self.requests, self.bytes)
    }

    /// Gives the log back, for another claim.
    #[must_use]
    pub fn into_state(self) -> LogState {
        self.state
    }

    /// Appends a record; it is durable when this returns its number.
    ///
    /// After an error of the store nobody knows whether the record was written. The next append
    /// finds out: what is there and ours then counts.
    ///
    /// # Errors
    /// `Fenced` when the log has another owner; `Unsettled` when it has grown since; the store's
    /// errors.
    pub async fn append(
        &mut self,
        entry: LogEntry,
        body: Option<Bytes>,
    ) -> Result<u64, PipelineError> {
        loop {
            let due = self.state.checkpoint_is_due();
            let checkpoint = due.then(|| self.state.checkpoint_entry()).flatten();
            let (now, body) = match checkpoint {
                Some(checkpoint) => (LogEntry::Checkpoint(checkpoint), None),
                None => (entry.clone(), body.as_ref()),
            };
            let written = self.create(now, body).await?;
            if let (Some(number), false) = (written, due) {
                return Ok(number);
            }
            // A checkpoint went first, or the place was taken by a record that changes nothing.
        }
    }

    /// Finds out what became of an append whose outcome nobody heard.
    ///
    /// # Errors
    /// As [`LogWriter::append`].
    pub async fn settle(&mut self) -> Result<(), PipelineError> {
        loop {
            let number = self.state.head.number + 1;
            let object = layout::log(self.run.repository.cluster(), number);
            let Some((found, _)) = stored::read(&self.run.repository, number).await? else {
                return Ok(());
            };
            self.take(&found, &object)?;
        }
    }

    /// Takes a record that was written by somebody, maybe by us.
    fn take(&mut self, found: &FoundRecord, object: &str) -> Result<Applied, PipelineError> {
        let applied = self
            .state
            .apply(&found.record, found.sha256)
            .map_err(|why| PipelineError::integrity(object, why))?;
        match (&found.record.entry, applied) {
            (LogEntry::Epoch(_), Applied::Counted) if found.record.run_id != self.run.id => {
                Err(PipelineError::Fenced { epoch: found.record.epoch, run: found.record.run_id })
            }
            _ => Ok(applied),
        }
    }

    /// Writes one record at the next place; nothing when another one is there.
    async fn create(
        &mut self,
        entry: LogEntry,
        body: Option<&Bytes>,
    ) -> Result<Option<u64>, PipelineError> {
        let number = self.state.head.number + 1;
        let epoch = match &entry {
            LogEntry::Checkpoint(_) => self.state.epoch(),
            _ => self.epoch,
        };
        let record = LogRecord {
            version: LogRecord::VERSION,
            cluster_uuid: self.run.cluster,
            number,
            previous: self.state.head.sha256,
            run_id: self.run.id,
            epoch,
            at: Timestamp::now(),
            entry,
        };
        // What this program would refuse to read it does not write.
        let line = self.run.sign(&record)?;
        let mut after = self.state.clone();
        let object = layout::log(self.run.repository.cluster(), number);
        after.apply(&record, stored::digest(&line)).map_err(|why| {
            PipelineError::integrity(&object, format!("about to be written, {why}"))
        })?;
        let stored = match body {
            Some(body) => {
                let mut whole = BytesMut::with_capacity(line.len() + body.len());
                whole.put(line);
                whole.put_slice(body);
                whole.freeze()
            }
            None => line,
        };
        let bytes = stored.len() as u64;
        match self.run.repository.store().create(&key(&object)?, stored).await {
            Ok(()) => {
                self.state = after;
                self.requests += 1;
                self.bytes += bytes;
                Ok(Some(number))
            }
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                self.look(&record, &object).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The place is taken: by us, unheard; by somebody who changes nothing; by the owner; or by
    /// the new one.
    async fn look(&mut self, ours: &LogRecord, object: &str) -> Result<Option<u64>, PipelineError> {
        let Some((found, _)) = stored::read(&self.run.repository, ours.number).await? else {
            // Taken, and gone: a store that does this cannot be trusted with anything.
            return Err(PipelineError::integrity(object, "it was there, and is not any more"));
        };
        let applied = self.take(&found, object)?;
        if found.record.run_id == ours.run_id && found.record.entry == ours.entry {
            return Ok(Some(ours.number));
        }
        // A checkpoint says what is known, and a void record nothing.
        let checkpoint = matches!(found.record.entry, LogEntry::Checkpoint(_));
        if checkpoint || applied == Applied::Void {
            return Ok(None);
        }
        // Whoever appends decided on what it believed to be the end.
        Err(PipelineError::Unsettled)
    }
}
