//! The audit chain, read once from its beginning to its end. What is kept of it does not grow with its
//! length, but for one entry for each backup and epoch.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    format::{
        AuditRecord, Role, RunIdentity,
        audit::{Details, Outcome, RestoreDetails, action},
        layout,
    },
    jobs::report::{
        document::{
            ActCount, ConfigurationRow, ConnectionUse, Evidence, Identity, MOST_ROWS, RestoreRow,
            VerifyRow,
        },
        facts::{AccessFact, Mark, Period, Trail},
    },
    pipeline::{
        ChainHead, Found, PipelineError, Repository, Vouched,
        audit::{OpenActs, scan},
    },
};

/// Hosts of an identity that are named.
const HOSTS: usize = 5;

pub(super) async fn read(
    repository: &Repository,
    at_least: Option<ChainHead>,
    period: Period,
) -> Result<Trail, PipelineError> {
    let mut reading = Reading::new(repository, period);
    let take = |found: &Found<AuditRecord>, run: &Vouched| -> Result<(), PipelineError> {
        reading.take(found, run);
        Ok(())
    };
    let chain = scan(repository, 0, at_least, take).await?;
    // A copy has a chain of its own, and beside it the one of what it is a copy of.
    let origin = |found: &Found<AuditRecord>| {
        let object = layout::origin_audit(repository.cluster(), found.record.number);
        reading.remember(&found.record, &Evidence::new(object, found.sha256));
    };
    let (_, broken) = repository.origin_trail(origin).await?;
    let Reading { mut trail, acts, hosts, open, .. } = reading;
    trail.head = chain.head;
    trail.records = chain.records;
    trail.findings = chain.findings;
    trail.findings.extend(broken);
    trail.more_findings = chain.more_findings;
    trail.asked = at_least.is_some();
    trail.contains = chain.contains;
    trail.acts = acts
        .into_iter()
        .map(|((action, outcome), count)| ActCount { action, outcome, count })
        .collect();
    for (identity, hosts) in trail.identities.iter_mut().zip(hosts) {
        identity.hosts_total = hosts.len() as u64;
        identity.hosts = hosts.into_iter().take(HOSTS).collect();
    }
    trail.open = open.without_end();
    trail.open.truncate(MOST_ROWS);
    newest(&mut trail.restores);
    newest(&mut trail.configurations);
    newest(&mut trail.verifications);
    Ok(trail)
}

/// The newest rows, the newest first.
fn newest<T>(rows: &mut Vec<T>) {
    rows.reverse();
    rows.truncate(MOST_ROWS);
}

struct Reading<'a> {
    repository: &'a Repository,
    period: Period,
    trail: Trail,
    acts: BTreeMap<(String, Option<Outcome>), u64>,
    /// Of each identity, in the order of these.
    hosts: Vec<BTreeSet<String>>,
    open: OpenActs,
}

impl<'a> Reading<'a> {
    fn new(repository: &'a Repository, period: Period) -> Self {
        let trail = Trail {
            head: ChainHead::EMPTY,
            records: 0,
            findings: Vec::new(),
            more_findings: 0,
            asked: false,
            contains: false,
            first: None,
            last: None,
            committed: BTreeMap::new(),
            epochs: std::collections::BTreeSet::new(),
            losses: std::collections::BTreeSet::new(),
            rewraps: std::collections::BTreeSet::new(),
            acts: Vec::new(),
            identities: Vec::new(),
            connections: Vec::new(),
            accesses: Vec::new(),
            nameless: Vec::new(),
            restores: Vec::new(),
            proven: None,
            verifications: Vec::new(),
            rewrapped: None,
            rewrap_failed: None,
            configurations: Vec::new(),
            open: Vec::new(),
        };
        Self {
            repository,
            period,
            trail,
            acts: BTreeMap::new(),
            hosts: Vec::new(),
            open: OpenActs::default(),
        }
    }

    fn take(&mut self, found: &Found<AuditRecord>, run: &Vouched) {
        let record = &found.record;
        let object = layout::audit(self.repository.cluster(), record.number);
        let evidence = Evidence::new(object, found.sha256);
        let mark = Mark { at: record.at, run: record.run_id, evidence: evidence.clone() };
        self.trail.first.get_or_insert_with(|| mark.clone());
        self.trail.last = Some(mark.clone());
        self.open.take(record);
        self.remember(record, &evidence);
        if record.action == action::PRUNE_SWEPT && run.record.role == Role::Prune {
            // Another backup can have its name.
            self.trail.committed.remove(&record.subject);
        }
        let who = who(&run.record.identity);
        if let Some(row) = restore(record, &who.label)
            && row.proven
        {
            self.trail.proven = Some((mark.clone(), row));
        }
        if self.period.has(record.at) {
            self.count(record, run, &who, &mark);
        }
    }

    /// What counts whenever it was.
    fn remember(&mut self, record: &AuditRecord, evidence: &Evidence) {
        let trail = &mut self.trail;
        match (record.action.as_str(), &record.details, record.record_sha256) {
            (action::BACKUP_COMMITTED | action::COPY_BACKUP, _, Some(sha256)) => {
                let subject = record.subject.clone();
                trail.committed.entry(subject).or_insert_with(|| (sha256, evidence.clone()));
            }
            (action::ARCHIVE_BEGUN, Some(Details::Archive(details)), _) => {
                trail.epochs.insert(details.epoch);
            }
            (action::ARCHIVE_GAP | action::ARCHIVE_FORK, Some(Details::Archive(details)), _) => {
                trail.losses.insert(details.record);
            }
            (action::REWRAP_BEGUN, ..) => {
                trail.rewraps.insert(record.run_id);
            }
            _ => {}
        }
    }

    /// What counts in the period.
    fn count(&mut self, record: &AuditRecord, run: &Vouched, who: &Who, mark: &Mark) {
        *self.acts.entry((record.action.clone(), record.outcome)).or_default() += 1;
        self.identity(record, run, who);
        if who.is_nobody && self.trail.nameless.len() < MOST_ROWS {
            self.trail.nameless.push(mark.clone());
        }
        if record.ends() {
            self.connections(record, &mark.evidence);
            self.accesses(&run.record.identity, mark);
        }
        let trail = &mut self.trail;
        if let Some(row) = restore(record, &who.label) {
            trail.restores.push(row);
        }
        if let Some(row) = verification(record, &who.label) {
            trail.verifications.push((row, mark.clone()));
        }
        if record.action == action::REWRAP_ENDED {
            match &record.failure {
                None => trail.rewrapped = Some(mark.clone()),
                Some(failure) => trail.rewrap_failed = Some((mark.clone(), failure.error.clone())),
            }
        }
        if let Some(Details::Configuration(details)) = &record.details {
            trail.configurations.push(ConfigurationRow {
                at: record.at,
                job: record.subject.clone(),
                settings: details.settings.clone(),
                record: record.number,
            });
        }
    }

    fn identity(&mut self, record: &AuditRecord, run: &Vouched, who: &Who) {
        let role = run.record.role.name();
        let is_it = |i: &Identity| i.who == who.label && i.role == role && i.signer == run.signer;
        let at = self.trail.identities.iter().position(is_it).unwrap_or_else(|| {
            self.hosts.push(BTreeSet::new());
            self.trail.identities.push(Identity {
                who: who.label.clone(),
                hosts: Vec::new(),
                hosts_total: 0,
                role,
                signer: run.signer.clone(),
                actions: BTreeMap::new(),
                first_at: record.at,
                last_at: record.at,
            });
            self.trail.identities.len() - 1
        });
        let identity = &mut self.trail.identities[at];
        *identity.actions.entry(record.action.clone()).or_default() += 1;
        identity.first_at = identity.first_at.min(record.at);
        identity.last_at = identity.last_at.max(record.at);
        if let Some(host) = &who.host
            && self.hosts[at].len() < MOST_ROWS
        {
            self.hosts[at].insert(host.clone());
        }
    }

    fn connections(&mut self, record: &AuditRecord, evidence: &Evidence) {
        for connection in &record.connections {
            let known = &mut self.trail.connections;
            if let Some((used, last)) =
                known.iter_mut().find(|(used, _)| used.connection == *connection)
            {
                used.acts += 1;
                (used.last_at, used.last_run) = (record.at, record.run_id);
                *last = evidence.clone();
            } else {
                let used = ConnectionUse {
                    connection: connection.clone(),
                    acts: 1,
                    last_at: record.at,
                    last_run: record.run_id,
                };
                known.push((used, evidence.clone()));
            }
        }
    }

    fn accesses(&mut self, identity: &RunIdentity, mark: &Mark) {
        let Some(kind) = identity.access else { return };
        let principal = identity.principal.clone();
        let known = &mut self.trail.accesses;
        // A principal can have the pod's name in it: the list has an end.
        let is_full = known.len() >= MOST_ROWS;
        match known.iter_mut().find(|fact| fact.kind == kind && fact.principal == principal) {
            Some(fact) => {
                fact.acts += 1;
                fact.last = mark.clone();
            }
            None if !is_full => {
                known.push(AccessFact { kind, principal, acts: 1, last: mark.clone() });
            }
            None => {}
        }
    }
}

/// Who did something.
struct Who {
    label: String,
    host: Option<String>,
    is_nobody: bool,
}

/// An identity in words: all that it tells in one line, but for host and pod, which in a cluster are
/// others each time, and where its credentials come from.
fn who(identity: &RunIdentity) -> Who {
    let fields = serde_json::to_value(identity).unwrap_or_default();
    let text = |name: &str| fields[name].as_str().map(ToOwned::to_owned);
    let host = text("host").or_else(|| text("pod"));
    let known: Vec<String> = fields
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !["host", "pod", "access"].contains(&name.as_str()))
        .filter_map(|(name, value)| Some(format!("{name} {}", value.as_str()?)))
        .collect();
    let label = match (known.is_empty(), &host) {
        (false, _) => known.join(", "),
        (true, Some(host)) => format!("host {host}"),
        (true, None) => "nobody".to_owned(),
    };
    Who { is_nobody: known.is_empty() && host.is_none(), label, host }
}

/// The row of a restore, of a drill, or of a plan, that has ended.
fn restore(record: &AuditRecord, who: &str) -> Option<RestoreRow> {
    let outcome = record.outcome?;
    if !["restore", "plan", "drill"].contains(&record.job()) {
        return None;
    }
    let details = match &record.details {
        Some(Details::Restore(details)) => details.clone(),
        _ => RestoreDetails::default(),
    };
    let equal = details.equal == Some(true) && record.job() != "plan";
    Some(RestoreRow {
        at: record.at,
        action: record.action.clone(),
        target: record.subject.clone(),
        backup_id: details.backup_id.map(|id| id.to_string()),
        proven: outcome == Outcome::Success && equal,
        expected: details.expected,
        actual: details.actual,
        failure: record.failure.as_ref().map(|f| format!("{}: {}", f.kind, f.error)),
        who: who.to_owned(),
        record: record.number,
    })
}

/// The row of a verification that has ended.
fn verification(record: &AuditRecord, who: &str) -> Option<VerifyRow> {
    record.outcome.filter(|_| record.job() == "verify")?;
    let details = match &record.details {
        Some(Details::Verify(details)) => Some(details),
        _ => None,
    };
    Some(VerifyRow {
        at: record.at,
        subject: record.subject.clone(),
        mode: details.map_or_else(|| "?".into(), |details| details.mode.clone()),
        result: details.and_then(|d| d.status.clone()).unwrap_or_else(|| "failed".into()),
        failure: record.failure.as_ref().map(|f| format!("{}: {}", f.kind, f.error)),
        who: who.to_owned(),
        record: record.number,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_did_it_is_told_without_the_host() {
        let of = |host: Option<&str>, user: Option<&str>| {
            let identity = RunIdentity {
                host: host.map(Into::into),
                user: user.map(Into::into),
                ..RunIdentity::default()
            };
            who(&identity)
        };
        let both = of(Some("db-0"), Some("mysql"));
        assert_eq!((both.label.as_str(), both.host.as_deref()), ("user mysql", Some("db-0")));
        assert_eq!(of(Some("db-0"), None).label, "host db-0");
        assert!(of(None, None).is_nobody && !both.is_nobody);
    }
}
