//! A drill for people.

use std::fmt::Write as _;

use super::{Text, place};
use crate::{
    format::{AssertionOutcome, DrillFailure, DrillStatus},
    jobs::drill::{Asserted, AssertionResult, Drilled, Recovery, Tables},
    model::ByteSize,
};

/// Problems that are told one by one.
const TOLD: usize = 20;

impl Text for Drilled {
    fn text(&self) -> String {
        let mut out = String::new();
        let verdict = match self.status {
            DrillStatus::Proven => {
                "PROVEN: it can be recovered, and everything that was asked holds"
            }
            DrillStatus::Unproven => {
                "NOT PROVEN: everything that was asked holds, and there was no exact position to compare with"
            }
            DrillStatus::Failed => "FAILED",
        };
        let _ = writeln!(out, "Drill {}: {verdict}.", self.drill_id);
        if let Some(target) = &self.target {
            let drawn = match (self.seed, self.drawn_from_seconds) {
                (Some(seed), Some(from)) if from > 0.0 => {
                    format!(", drawn from {} (seed {seed})", span(from))
                }
                (Some(seed), _) => format!(", drawn (seed {seed})"),
                _ => String::new(),
            };
            let _ = writeln!(out, "  point       {target}{drawn}");
        }
        if let Some(recovery) = &self.recovery {
            self.recovered(&mut out, recovery);
        }
        if let Some(error) = &self.error {
            let _ = writeln!(out, "  FAILED      {error}");
        }
        if let Some(tables) = &self.tables {
            checked(&mut out, tables);
        }
        if let Some(asserted) = &self.assertions {
            asked(&mut out, asserted);
        }
        match &self.evidence {
            Some(evidence) => {
                let _ = writeln!(out, "  evidence    {}", evidence.object);
                let _ = writeln!(out, "              SHA-256 {}", evidence.sha256);
                let _ = writeln!(out, "  audit head  {}", evidence.audit_head);
            }
            None => out.push_str("  evidence    none was stored (--no-evidence)\n"),
        }
        if self.status == DrillStatus::Failed
            && let (Some(_), Some(at)) =
                (self.seed, self.target.as_ref().and_then(|target| target.strip_prefix("time ")))
        {
            let _ = writeln!(out, "The same point again: backstay drill --to-time {at} …");
        }
        out
    }
}

impl Drilled {
    fn recovered(&self, out: &mut String, recovery: &Recovery) {
        let plan = &recovery.plan;
        let _ = writeln!(
            out,
            "  began with  backup {}, finished {}",
            recovery.backup_id, plan.backup_finished_at
        );
        for id in &plan.passed_over {
            let _ = writeln!(
                out,
                "  DAMAGED     backup {id}: another one had to take its place; run `backstay verify {id}`"
            );
        }
        if let Some(replay) = &recovery.replay {
            let _ = writeln!(
                out,
                "  replayed    {} transactions, {}",
                replay.transactions,
                ByteSize(replay.bytes)
            );
        }
        if let Some(proof) = &recovery.proof {
            let state = &proof.actual;
            let found = match &state.gtid_set {
                Some(set) if !set.is_empty() => set.clone(),
                _ => place(&state.position),
            };
            let equal = if proof.equal == Some(true) { ", exactly as planned" } else { "" };
            let _ = writeln!(out, "  stands at   {found}{equal}");
        }
        let phases = &recovery.phases;
        let _ = writeln!(
            out,
            "  recovered   in {:.1} s: fetch {:.1}, prepare {:.1}, replay {:.1}, start and prove {:.1}",
            recovery.seconds,
            phases.extract_seconds,
            phases.prepare_seconds,
            phases.replay_seconds,
            phases.start_seconds
        );
        if let Some(target) = self.recovery_target_seconds {
            let slow = self.failures.contains(&DrillFailure::TooSlow);
            let (word, may) = if slow { ("TOO SLOW", "may only") } else { ("in time", "may") };
            let _ = writeln!(out, "  {word:<10}  it {may} take {}", span(target));
        }
        let _ = writeln!(
            out,
            "  size        {} fetched, {} on disk",
            ByteSize(recovery.stored_bytes),
            ByteSize(recovery.disk_bytes)
        );
    }
}

fn checked(out: &mut String, tables: &Tables) {
    let Tables { depth, whole, damaged, unchecked, seconds } = tables;
    let verdict = match damaged.len() {
        0 => "all whole".to_owned(),
        count => format!("{count} DAMAGED"),
    };
    let all = *whole + damaged.len() as u64;
    let _ = writeln!(out, "  tables      {all} checked ({depth}) in {seconds:.1} s: {verdict}");
    for problem in damaged.iter().take(TOLD) {
        let _ = writeln!(out, "    DAMAGED   {}: {}", problem.table, problem.why);
    }
    more(out, damaged.len());
    for problem in unchecked.iter().take(TOLD) {
        let _ = writeln!(out, "    unchecked {}: {}", problem.table, problem.why);
    }
    more(out, unchecked.len());
}

fn more(out: &mut String, count: usize) {
    if count > TOLD {
        let _ = writeln!(out, "    … and {} more", count - TOLD);
    }
}

fn asked(out: &mut String, asserted: &Asserted) {
    let Asserted { hold, results, seconds, .. } = asserted;
    let all = results.len();
    let verdict = if *hold == all as u64 {
        match all {
            1 => "it holds".to_owned(),
            _ => "all hold".to_owned(),
        }
    } else {
        match all as u64 - hold {
            1 => "1 DOES NOT HOLD".to_owned(),
            count => format!("{count} DO NOT HOLD"),
        }
    };
    let _ = writeln!(out, "  assertions  {all} asked in {seconds:.1} s: {verdict}");
    for result in results {
        let word = match result.status {
            AssertionOutcome::Holds => "holds",
            AssertionOutcome::False => "FALSE",
            AssertionOutcome::Error => "ERROR",
        };
        let _ = writeln!(out, "    {word}     {}{}", result.name, told(result));
    }
}

/// What an answer has to say beside the verdict.
fn told(result: &AssertionResult) -> String {
    let why = result.why.iter().cloned();
    let shown = result.values.iter().filter(|answer| answer.column.starts_with('_'));
    let shown = shown.map(|answer| {
        let name = answer.column.trim_start_matches('_');
        format!("{name} = {}", answer.value.as_deref().unwrap_or("NULL"))
    });
    let all: Vec<String> = why.chain(shown).collect();
    let line = match result.status {
        AssertionOutcome::Holds => String::new(),
        _ => format!(" (line {})", result.line),
    };
    if all.is_empty() { line } else { format!("{line}: {}", all.join(", ")) }
}

/// A duration in the two largest units that it has.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds, not negative"
)]
pub(super) fn span(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}
