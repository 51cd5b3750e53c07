//! 12.10: could data be brought back?

use super::{number, of, some};
use crate::jobs::report::{
    document::{Evidence, LossRow, RestoreRow, Statement},
    facts::{BackupFact, Facts},
};

const HOUR_SECONDS: f64 = 3600.0;

pub(super) fn works(facts: &Facts) -> Vec<Statement> {
    let mut said = vec![restored(facts), verified(facts)];
    said.extend(losses(facts));
    said.extend(recovery_points(facts));
    said
}

/// Whether a restore was proven.
fn restored(facts: &Facts) -> Statement {
    let (period, trail) = (&facts.period, &facts.trail);
    let proven: Vec<&RestoreRow> = trail.restores.iter().filter(|row| row.proven).collect();
    let worst = trail
        .restores
        .iter()
        .filter(|row| row.failure.as_ref().is_some_and(|why| why.starts_with("integrity")))
        .max_by_key(|row| row.at);
    let last = proven.iter().max_by_key(|row| row.at);
    let evidence = trail
        .proven
        .iter()
        .filter(|(mark, _)| period.has(mark.at))
        .map(|(mark, _)| mark.evidence.clone());
    match (last, worst) {
        (last, Some(failed)) if last.is_none_or(|last| last.at < failed.at) => Statement::fails(format!(
            "The last restore, at {}, did not bring back what was stored: {}.",
            failed.at,
            failed.failure.as_deref().unwrap_or_default()
        )),
        (Some(last), _) => Statement::holds(format!(
            "{} proven in the period: the last one at {}, of backup {}, to {}; a server that started on it had \
             exactly what was planned.",
            number(proven.len(), "restore was", "restores were"),
            last.at,
            last.backup_id.as_deref().unwrap_or("?"),
            last.target
        ))
        .shown_by(evidence),
        (None, _) => {
            let before = facts.backups.iter().any(|b| b.manifest.finished_at < period.since);
            let ever = trail.proven.as_ref().map_or_else(
                || "none ever was".to_owned(),
                |(mark, _)| format!("the last one was at {}", mark.at),
            );
            let text = format!("No restore was proven in the period; {ever}.");
            if before {
                // There was something to restore, all the time.
                Statement::fails(text)
            } else {
                Statement::not_shown(text)
            }
        }
    }
}

fn verified(facts: &Facts) -> Statement {
    let Some((last, mark)) = facts.trail.verifications.iter().max_by_key(|(row, _)| row.at) else {
        return Statement::not_shown("No verification of the period is recorded.");
    };
    let text = format!(
        "The last of {} in the period, at {} ({}, of {}), ended with: {}{}.",
        number(facts.trail.verifications.len(), "verification", "verifications"),
        last.at,
        last.mode,
        last.subject,
        last.result,
        last.failure.as_ref().map_or_else(String::new, |why| format!(": {why}"))
    );
    let statement = match last.result.as_str() {
        "ok" => Statement::holds(text),
        "damaged" => Statement::fails(text),
        _ => Statement::not_shown(text),
    };
    statement.shown_by([mark.evidence.clone()])
}

fn losses(facts: &Facts) -> Vec<Statement> {
    let log = match &facts.log {
        None => {
            return vec![Statement::remark(
                "No binary log is archived: only backups can be brought back.",
            )];
        }
        Some(Err(finding)) => {
            return vec![Statement::fails(format!(
                "The binlog log cannot be read: {}: {}.",
                finding.object, finding.why
            ))];
        }
        Some(Ok(log)) => log,
    };
    let mut said = Vec::new();
    if log.gaps.is_empty() {
        said.push(Statement::holds(
            "No transaction was found missing from the archive in the period.",
        ));
    } else {
        let last = log.gaps.iter().map(|gap| gap.at).max();
        let after = |backup: &&BackupFact| Some(backup.manifest.started_at) > last;
        let closed = facts.backups.iter().find(after).map_or_else(
            || "no backup was taken since".to_owned(),
            |backup| format!("backup {} was taken after the last of them", backup.id()),
        );
        let each = |gap: &LossRow| {
            let transactions = of(gap.transactions, "transaction", "transactions");
            format!("{transactions} of server {}, found at {}", gap.server, gap.at)
        };
        let evidence =
            log.gaps.iter().map(|gap| Evidence { object: gap.object.clone(), sha256: gap.sha256 });
        said.push(
            Statement::fails(format!(
                "Transactions are missing from the archive: {}; {closed}.",
                some(log.gaps.iter().map(each))
            ))
            .shown_by(evidence),
        );
    }
    if !log.forks.is_empty() {
        said.push(Statement::remark(format!(
            "{} found: transactions that are archived, and that the server which took over never had.",
            number(log.forks.len(), "fork was", "forks were")
        )));
    }
    said
}

fn recovery_points(facts: &Facts) -> Option<Statement> {
    let Some(Ok(log)) = &facts.log else { return None };
    let worst = log.points.iter().max_by(|a, b| a.behind_seconds.total_cmp(&b.behind_seconds))?;
    let until = log.archived_until.map_or_else(String::new, |t| {
        format!(" What was committed until {t} can be brought back now.")
    });
    let behind = if worst.behind_seconds < HOUR_SECONDS {
        format!("{:.1} s", worst.behind_seconds)
    } else {
        format!("{:.1} hours", worst.behind_seconds / HOUR_SECONDS)
    };
    Some(Statement::remark(format!(
        "At {} of the period the archive was behind by {behind} at most, at {}.{until}",
        number(log.points.len(), "instant", "instants"),
        worst.at
    )))
}
