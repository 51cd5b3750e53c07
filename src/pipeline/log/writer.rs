//! Extending the log: one record after another, each created only if nobody else has.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    state::{Applied, LogState},
    stored::{self, FoundRecord},
};
use crate::{
    format::{EpochEntry, LogEntry, LogRecord, Payload, layout},
    model::{Sha256Digest, Timestamp},
    pipeline::{Class, PipelineError, Run, repository::key},
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
    /// What was written last, until it is sure that nothing older was hidden there.
    unconfirmed: Option<(u64, Sha256Digest)>,
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
        let mut writer = Self { run, state, epoch, requests: 0, bytes: 0, unconfirmed: None };
        loop {
            match writer.append(LogEntry::Epoch(claim.clone()), None).await {
                Ok(number) => {
                    return match writer.is_locked(number).await {
                        Ok(()) => Ok(writer),
                        Err(error) => Err((error, writer.state)),
                    };
                }
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
        // After an error of the store nothing is written before that is sure.
        self.confirm().await?;
        loop {
            let due = self.state.checkpoint_is_due();
            let checkpoint = due.then(|| self.state.checkpoint_entry()).flatten();
            let (now, body) = match checkpoint {
                Some(checkpoint) => (LogEntry::Checkpoint(checkpoint), None),
                None => (entry.clone(), body.as_ref()),
            };
            let written = self.create(now, body).await?;
            self.confirm().await?;
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
        self.confirm().await?;
        loop {
            let number = self.state.head.number + 1;
            let object = layout::log(self.run.repository.cluster(), number);
            let Some(found) = self.found(number).await? else { return Ok(()) };
            self.take(&found, &object)?;
        }
    }

    /// Makes sure that what was written is what counts. In a store that keeps versions a number
    /// whose record was deleted can be written again, and the older record counts all the same:
    /// whoever hid it from us could so have two archivers believe that each owns the log. What the
    /// one that does not would write next would follow nothing.
    async fn confirm(&mut self) -> Result<(), PipelineError> {
        let (repository, Some((number, ours))) = (&self.run.repository, self.unconfirmed) else {
            return Ok(());
        };
        if repository.store().keeps_versions().await? {
            let object = layout::log(repository.cluster(), number);
            let versions = repository.store().versions(&key(&object)?).await?;
            if versions.versions.len() != 1 {
                let found = stored::read_envelope(repository, number, versions).await?;
                if found.sha256 != ours {
                    let why = format!(
                        "a record of run {} counts here, which somebody had deleted when ours was \
                         written: start the archiver again",
                        found.record.run_id
                    );
                    return Err(PipelineError::integrity(object, why));
                }
            }
        }
        self.unconfirmed = None;
        Ok(())
    }

    /// Makes sure that the claim is locked as it was asked to be: the first object of its run.
    async fn is_locked(&self, number: u64) -> Result<(), PipelineError> {
        let repository = &self.run.repository;
        let object = layout::log(repository.cluster(), number);
        repository.must_be_locked(&object, &repository.keep(Class::Data)).await
    }

    /// The record under a number; nothing when there is none, or the name is an intruder's own.
    async fn found(&self, number: u64) -> Result<Option<FoundRecord>, PipelineError> {
        match stored::read(&self.run.repository, number).await {
            Ok(found) => Ok(found.map(|(found, _)| found)),
            Err(error @ PipelineError::Integrity { .. }) => {
                let object = key(&layout::log(self.run.repository.cluster(), number))?;
                let versions = self.run.repository.store().versions(&object).await?;
                if stored::is_strange(&self.run.repository, number, &versions).await? {
                    Ok(None)
                } else {
                    Err(error)
                }
            }
            Err(error) => Err(error),
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
        let sha256 = stored::digest(&line);
        after.apply(&record, sha256).map_err(|why| {
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
        let mut keep = self.run.repository.keep(match &record.entry {
            // Whoever reads from a checkpoint on needs the claim before it.
            LogEntry::Epoch(_) => Class::Key,
            _ => Class::Data,
        });
        let object = key(&object)?;
        loop {
            let store = self.run.repository.store();
            match store.create_kept(&object, stored.clone(), &keep).await {
                Ok(()) => {
                    self.state = after;
                    self.requests += 1;
                    self.bytes += bytes;
                    self.unconfirmed = Some((number, sha256));
                    return Ok(Some(number));
                }
                Err(error) if error.kind == StoreErrorKind::AlreadyExists && !keep.over => {
                    match self.found(number).await? {
                        Some(found) => return self.look(&record, &found, object.as_str()),
                        // What somebody has put there must not stop us.
                        None if store.keeps_versions().await? => keep.over = true,
                        // Taken, and gone: a store that does this cannot be trusted with anything.
                        None => {
                            let why = "it was there, and is not any more";
                            return Err(PipelineError::integrity(object.as_str(), why));
                        }
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The place is taken: by us, unheard; by somebody who changes nothing; by the owner; or by
    /// the new one.
    fn look(
        &mut self,
        ours: &LogRecord,
        found: &FoundRecord,
        object: &str,
    ) -> Result<Option<u64>, PipelineError> {
        let applied = self.take(found, object)?;
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
