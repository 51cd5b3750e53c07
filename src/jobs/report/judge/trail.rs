//! 10.2, 10.3 and 10.5: the audit trail itself.

use super::{head, number, of, some};
use crate::{
    jobs::report::{
        document::{Evidence, Statement},
        facts::{Facts, LockFact},
    },
    model::{LockMode, Timestamp},
};

/// A backup that was committed a moment ago may be about to be recorded.
const MOMENT_SECONDS: f64 = 600.0;
const DAY_SECONDS: f64 = 86_400.0;
/// Twelve months.
const KEPT_DAYS: f64 = 365.0;

pub(super) fn complete(facts: &Facts) -> Vec<Statement> {
    let (trail, period) = (&facts.trail, &facts.period);
    let acts: u64 = trail.acts.iter().map(|act| act.count).sum();
    if acts == 0 {
        return vec![Statement::not_shown("Nothing of the period is recorded.")];
    }
    let mut said = vec![
        Statement::holds(format!(
            "{} of the period: each says when, by which run (and so by whom and from where), what was done, \
             on what, and how it ended.",
            of(acts, "record", "records")
        ))
        .shown_by(head(facts)),
    ];
    let due = facts.backups.iter().filter(|backup| {
        let finished = backup.manifest.finished_at;
        period.has(finished) && period.now.seconds_since(finished) > MOMENT_SECONDS
    });
    let (told, untold): (Vec<_>, Vec<_>) = due.partition(|backup| {
        let committed = trail.committed.get(backup.id().as_str());
        committed.is_some_and(|(sha256, _)| *sha256 == backup.sha256)
    });
    if !untold.is_empty() {
        said.push(
            Statement::fails(format!(
                "{} there that no record speaks of: {}.",
                number(untold.len(), "backup is", "backups are"),
                some(untold.iter().map(|backup| backup.id()))
            ))
            .shown_by(untold.iter().map(|backup| backup.evidence())),
        );
    }
    if !told.is_empty() {
        let records = told.iter().filter_map(|backup| trail.committed.get(backup.id().as_str()));
        said.push(
            Statement::holds(format!(
                "{} of the period, each with a record that has the hash of its manifest.",
                number(told.len(), "backup", "backups")
            ))
            .shown_by(records.map(|(_, evidence)| evidence.clone())),
        );
    }
    if let Some(Ok(log)) = &facts.log {
        let lost: Vec<_> =
            log.epochs.iter().filter(|(number, ..)| !trail.epochs.contains(number)).collect();
        if !lost.is_empty() {
            said.push(
                Statement::fails(format!(
                    "The binlog log was claimed, and no record speaks of it: epoch {}.",
                    some(lost.iter().map(|(number, ..)| number))
                ))
                .shown_by(lost.iter().map(|(_, evidence, _)| evidence.clone())),
            );
        }
        let losses = log.gaps.iter().chain(&log.forks);
        let untold: Vec<_> = losses.filter(|loss| !trail.losses.contains(&loss.record)).collect();
        if !untold.is_empty() {
            said.push(Statement::fails(format!(
                "Gaps or forks are in the binlog log, and no record speaks of them: log record {}.",
                some(untold.iter().map(|loss| loss.record))
            )));
        }
    }
    let quiet = facts.keys.iter().filter(|key| {
        key.generation > 1 && period.has(key.created_at) && !trail.rewraps.contains(&key.run)
    });
    let quiet: Vec<_> = quiet.collect();
    if !quiet.is_empty() {
        said.push(
            Statement::fails(format!(
                "{} wrapped anew, and no record speaks of it: {}.",
                number(quiet.len(), "DEK was", "DEKs were"),
                some(quiet.iter().map(|key| key.dek))
            ))
            .shown_by(quiet.iter().map(|key| key.evidence())),
        );
    }
    let killed = trail.open.iter().filter(|act| {
        act.is_over
            || period.now.seconds_since(act.at) > DAY_SECONDS && !act.action.starts_with("archive")
    });
    let killed: Vec<_> = killed.collect();
    if !killed.is_empty() {
        said.push(Statement::remark(format!(
            "{} began and never ended, so the job was killed: record {}.",
            number(killed.len(), "act", "acts"),
            some(killed.iter().map(|act| act.number))
        )));
    }
    said
}

pub(super) fn protected(facts: &Facts) -> Vec<Statement> {
    let trail = &facts.trail;
    let mut said = Vec::new();
    if trail.records == 0 && trail.findings.is_empty() {
        return vec![Statement::not_shown("The audit chain is empty.")];
    }
    if trail.findings.is_empty() {
        said.push(
            Statement::holds(format!(
                "All {} records were verified: each is signed by a run for which a trusted signer vouches, and has \
                 the hash of the one before; none is missing, altered or out of order.",
                trail.records
            ))
            .shown_by(head(facts)),
        );
    } else {
        let findings = &trail.findings;
        let more = findings.len() as u64 + trail.more_findings;
        said.push(
            Statement::fails(format!(
                "The audit chain is not whole: {more} findings, such as {}.",
                some(findings.iter().take(3).map(|f| format!("{}: {}", f.object, f.why)))
            ))
            .shown_by(findings.iter().map(|f| Evidence { object: f.object.clone(), sha256: None })),
        );
    }
    if trail.asked && trail.contains {
        said.push(Statement::holds(
            "The chain contains the head that was kept elsewhere (--at-least): it was not rolled back.",
        ));
    } else if !trail.asked {
        said.push(Statement::not_shown(
            "Freshness is not proven: no head that was kept elsewhere was given (--at-least), so records that \
             were cut off at the end would not be missed.",
        ));
    }
    said.extend(locks(&facts.locks, facts.period.now));
    said
}

fn locks(locks: &[LockFact], now: Timestamp) -> Vec<Statement> {
    let held = |lock: &LockFact| {
        let protection = lock.protection.as_ref().ok()?;
        let until = protection.retention.filter(|retention| retention.until > now);
        (until.is_some() || protection.legal_hold).then_some(until)
    };
    let evidence = |lock: &LockFact| Evidence { object: lock.object.clone(), sha256: lock.sha256 };
    let mut said = Vec::new();
    for (is_audit, what) in
        [(true, "audit record"), (false, "manifest, key record, volume or segment")]
    {
        let sample: Vec<&LockFact> =
            locks.iter().filter(|lock| lock.is_audit == is_audit).collect();
        let open: Vec<&&LockFact> = sample.iter().filter(|lock| held(lock).is_none()).collect();
        if sample.is_empty() {
            continue;
        }
        let statement = if open.is_empty() {
            let least = sample.iter().filter_map(|lock| held(lock).flatten());
            let weak = least.clone().any(|retention| retention.mode == LockMode::Governance);
            let until = least.map(|retention| retention.until).min();
            let until = until.map_or_else(
                || "as long as their legal holds last".into(),
                |t| format!("until {t} at least"),
            );
            let mode = if weak {
                " (governance: those with a right of their own may lift it)"
            } else {
                ""
            };
            Statement::holds(format!(
                "The store keeps each {what} that was looked at ({}) from being removed {until}{mode}.",
                sample.len()
            ))
            .shown_by(sample.iter().map(|lock| evidence(lock)))
        } else {
            let unknown = open.iter().find_map(|lock| lock.protection.as_ref().err());
            let why = unknown.map_or_else(String::new, |why| format!(" ({why})"));
            let text = format!(
                "The store does not say that it keeps {} of {} from being removed{why}: such as {}.",
                open.len(),
                match sample.len() {
                    1 => format!("1 {what}"),
                    many if is_audit => format!("{many} audit records"),
                    many => format!("{many} manifests, key records, volumes and segments"),
                },
                some(open.iter().map(|lock| &lock.object))
            );
            // What the control is about are the logs.
            let statement =
                if is_audit { Statement::not_shown(text) } else { Statement::remark(text) };
            statement.shown_by(open.iter().map(|lock| evidence(lock)))
        };
        let remark = |statement: Statement| Statement { status: None, ..statement };
        said.push(if is_audit { statement } else { remark(statement) });
    }
    said
}

pub(super) fn kept(facts: &Facts) -> Vec<Statement> {
    let (trail, until) = (&facts.trail, facts.period.until);
    let Some(first) = &trail.first else {
        return vec![Statement::not_shown("The audit chain is empty.")];
    };
    let evidence = [first.evidence.clone()];
    let days = until.seconds_since(first.at) / DAY_SECONDS;
    let is_whole = trail.findings.is_empty();
    let gone = trail.findings.iter().find(|f| f.why.starts_with("it is missing"));
    if let Some(gone) = gone {
        return vec![
            Statement::fails(format!("Records are missing: {}, {}.", gone.object, gone.why))
                .shown_by([Evidence { object: gone.object.clone(), sha256: None }]),
        ];
    }
    if days >= KEPT_DAYS {
        let text = format!(
            "The history goes back {days:.0} days, to {}: more than twelve months.",
            first.at
        );
        let statement = if is_whole {
            Statement::holds(text)
        } else {
            Statement::not_shown(text + " The chain is not whole.")
        };
        return vec![statement.shown_by(evidence)];
    }
    let locked = facts.locks.iter().filter(|lock| lock.is_audit).map(|lock| {
        let retention = lock.protection.as_ref().ok()?.retention?;
        Some(retention.until.seconds_since(facts.period.now) / DAY_SECONDS)
    });
    let least =
        locked.collect::<Option<Vec<f64>>>().and_then(|all| all.into_iter().reduce(f64::min));
    let goes_back = format!(
        "The history goes back {days:.0} days, to {}; the cluster was made at {}.",
        first.at, facts.created_at
    );
    vec![match least {
        Some(left) if days + left >= KEPT_DAYS => Statement::holds(format!(
            "{goes_back} It is younger than twelve months, and the store keeps the records looked at for {left:.0} \
             days more."
        )),
        _ => Statement::not_shown(format!(
            "{goes_back} That is less than twelve months, and no lock shows that it will be kept for so long."
        )),
    }
    .shown_by(evidence)]
}
