//! Does a file go on where the archive ends? What is missing or forked is recorded before its bytes.

use super::{
    super::{warn_of_fork, warn_of_gap},
    Shipper, Unmatched,
};
use crate::{
    format::{ForkEntry, GapEntry, LogEntry, Opening},
    model::{Flavor, Gtid, GtidSet, GtidState, Missing},
    pipeline::{PipelineError, log::LogState},
};

impl Shipper {
    /// Reading begins with another file: what was archived last has to be met in it. MariaDB only,
    /// whose positions name but the last transaction of a domain; sets of MySQL tell by themselves.
    pub(in crate::jobs::archive) fn expect(&mut self) {
        self.before = self.writer.state().frontier.clone();
        if let GtidSet::Mariadb(domains) = self.before.position() {
            let unmatched = |(domain, (server, sequence))| {
                (domain, Unmatched { server, sequence, joined: false })
            };
            self.unmatched = domains.into_iter().map(unmatched).collect();
        }
    }

    pub(super) async fn opened(
        &mut self,
        previous: &GtidState,
        skims: bool,
    ) -> Result<(), PipelineError> {
        let Some(outline) = self.opening.take() else { return Ok(()) };
        if skims {
            let read = Opening { previous: previous.clone(), outline: outline.digest() };
            self.differs |= self.skim.as_ref().is_some_and(|skim| skim.opening != read);
            return Ok(());
        }
        self.unmatched.retain(|domain, last| {
            last.joined |= previous.meets(&self.before.domain(*domain));
            previous.sequence(*domain, last.server) != last.sequence
        });
        self.goes_on_from(previous).await?;
        let opening = Opening { previous: previous.clone(), outline: outline.digest() };
        let tail = self.tail.as_mut().map(|tail| &mut tail.range);
        let segment = self.segment.as_mut().map(|segment| &mut segment.range);
        for range in tail.into_iter().chain(segment) {
            range.opening(opening.clone());
        }
        Ok(())
    }

    /// What was before is archived, or no file has it: a client may give a server transactions
    /// that were never in its log (`SET GLOBAL gtid_purged`).
    pub(in crate::jobs::archive) async fn goes_on_from(
        &mut self,
        previous: &GtidState,
    ) -> Result<(), PipelineError> {
        let is_new =
            |state: &LogState| !state.frontier.is_empty() && !previous.is_within(&state.frontier);
        if !is_new(self.writer.state()) {
            return Ok(());
        }
        // They may be in the segment that is being completed.
        self.settled().await?;
        let state = self.writer.state();
        if !is_new(state) {
            return Ok(());
        }
        let Some(missing) = previous.missing_from(&state.frontier) else { return Ok(()) };
        self.gap(missing, previous.clone()).await
    }

    pub(super) async fn gap(
        &mut self,
        missing: Missing,
        resumes_at: GtidState,
    ) -> Result<(), PipelineError> {
        let gap = GapEntry {
            server: self.server.clone(),
            file: self.name.clone().ok_or(PipelineError::Worker)?,
            missing: missing.text,
            transactions: missing.count,
            after: self.writer.state().committed_until,
            resumes_at,
        };
        warn_of_gap(&gap);
        self.note(LogEntry::Gap(gap)).await?;
        self.status.gap();
        Ok(())
    }

    /// Where MariaDB begins with another file, a domain goes on only behind the transaction that
    /// is archived last: numbers alone would not tell whether something lies between, or whether
    /// others bear the same numbers.
    pub(super) async fn match_gtid(&mut self, gtid: &Gtid) -> Result<(), PipelineError> {
        let &Gtid::Mariadb { domain, server, sequence } = gtid else { return Ok(()) };
        let Some(known) = self.unmatched.get_mut(&domain) else { return Ok(()) };
        let (last_server, last) = (known.server, known.sequence);
        if self.before.sequence(domain, server) >= sequence {
            known.joined = true;
            if (server, sequence) == (last_server, last) {
                self.unmatched.remove(&domain);
            }
            return Ok(());
        }
        if sequence <= last && !known.joined {
            return Ok(());
        }
        self.unmatched.remove(&domain);
        if sequence == last + 1 {
            return Ok(());
        }
        self.flush().await?;
        if sequence > last {
            let mut resumes_at = GtidState::empty(Flavor::Mariadb);
            resumes_at.add_mariadb(domain, last_server, last);
            let text = match (last + 1, sequence - 1) {
                (first, end) if first == end => format!("{domain}-{last_server}-{first}"),
                (first, end) => format!("{domain}-{last_server}-{first}…{end}"),
            };
            return self.gap(Missing { text, count: sequence - last - 1 }, resumes_at).await;
        }
        self.fork(domain, sequence, last_server).await
    }

    /// The server has other transactions under the numbers from `sequence` on than are archived.
    pub(super) async fn fork(
        &mut self,
        domain: u32,
        sequence: u64,
        left: u32,
    ) -> Result<(), PipelineError> {
        let archived = self.writer.state().frontier.clone();
        let frontier = archived.before(domain, sequence);
        let Some(forked) = archived.missing_from(&frontier) else { return Ok(()) };
        let fork = ForkEntry {
            left: format!("id-{left}").parse().map_err(|_| PipelineError::Worker)?,
            taken: self.server.clone(),
            forked: forked.text,
            transactions: forked.count,
            frontier,
        };
        warn_of_fork(&fork);
        self.note(LogEntry::Fork(fork)).await?;
        self.status.fork();
        Ok(())
    }
}
