//! Which base backup a restore begins with: the newest from which the target can be reached.

use super::{Target, Wanted};
use crate::{
    format::Manifest,
    jobs::{
        Committed, JobError, choose,
        choose::{condemned, uncondemned},
    },
    model::{BackupId, Timestamp},
    pipeline::{
        Found, Repository, Standing,
        log::{Base, Coverage, Line, Lines},
        marked_backup,
    },
};

/// A base, and the way behind it.
pub(in crate::jobs::restore) struct Chosen<'a> {
    pub(in crate::jobs::restore) found: Found<Manifest>,
    /// What it stands on, the full backup first.
    pub(in crate::jobs::restore) stands_on: Vec<Manifest>,
    pub(in crate::jobs::restore) coverage: Coverage<'a>,
    /// Newer ones that are damaged.
    pub(in crate::jobs::restore) passed_over: Vec<BackupId>,
}

/// Why a base does not serve.
struct Unfit {
    id: BackupId,
    why: String,
    /// The latest instant that can be reached from it.
    until: Option<Timestamp>,
}

/// The base that was asked for, or the newest one that serves.
pub(in crate::jobs::restore) async fn find<'a>(
    repository: &Repository,
    lines: &Lines<'a>,
    wanted: &Wanted<'_>,
) -> Result<Chosen<'a>, JobError> {
    let Wanted { target, line, backup: id, .. } = wanted;
    if !lines.has(*line) {
        return Err(unknown(*line));
    }
    // Without a log an older backup is an older point, and is never taken for the newest in silence.
    if id.is_some() || *target == Target::Backup || lines.is_empty() {
        let found = choose(repository, *id).await?;
        uncondemned(repository, &found).await?;
        let stands_on = repository.bases(&found.record).await?;
        let coverage = lines.along(&Base::from(&found.record), *line);
        return match unfit(&found.record, &coverage, wanted, lines) {
            None => Ok(Chosen { found, stands_on, coverage, passed_over: Vec::new() }),
            Some(unfit) => Err(refused(target, &[unfit])),
        };
    }
    let committed = Committed::read(repository).await?;
    let marks = repository.backup_marks().await?;
    let mut unfits = Vec::new();
    let mut passed_over = Vec::new();
    for (id, found) in repository.backups().await? {
        if wanted.without.contains(&id) {
            passed_over.push(id);
            continue;
        }
        let found = match found {
            Ok(found) => match committed.contradicts(&id, Some(&found)) {
                None => {
                    let subject = marked_backup(&found);
                    let standing = marks.get(&id).map(|marks| marks.standing(&subject));
                    if let Some(mark) = standing.as_ref().and_then(Standing::condemned) {
                        let why = condemned(&id, mark);
                        unfits.push(Unfit { id, why, until: None });
                        continue;
                    }
                    found
                }
                Some(why) => {
                    passed_over.push(id.clone());
                    tracing::warn!(backup_id = %id, why, "a damaged backup is passed over");
                    continue;
                }
            },
            Err(error) => {
                passed_over.push(id.clone());
                tracing::warn!(backup_id = %id, %error, "a damaged backup is passed over");
                continue;
            }
        };
        let stands_on = repository.bases(&found.record).await?;
        if stands_on.iter().any(|base| wanted.without.contains(&base.backup_id)) {
            passed_over.push(id);
            continue;
        }
        let coverage = lines.along(&Base::from(&found.record), *line);
        match unfit(&found.record, &coverage, wanted, lines) {
            None => return Ok(Chosen { found, stands_on, coverage, passed_over }),
            Some(unfit) => unfits.push(unfit),
        }
    }
    if unfits.is_empty() {
        let what =
            if passed_over.is_empty() { "no complete backup" } else { "no backup that is whole" };
        return Err(JobError::target(
            format!("{} has {what}", repository.url()),
            "check --repo and --cluster, or take a backup first",
        ));
    }
    Err(refused(target, &unfits))
}

/// Nothing when the target can be reached.
fn unfit(
    manifest: &Manifest,
    coverage: &Coverage<'_>,
    wanted: &Wanted<'_>,
    lines: &Lines<'_>,
) -> Option<Unfit> {
    let Wanted { target, line, .. } = wanted;
    let earliest = coverage.base_committed.unwrap_or(manifest.finished_at);
    let until = coverage.until().map_or(earliest, |until| until.max(earliest));
    let no = |why: String| Some(Unfit { id: manifest.backup_id.clone(), why, until: Some(until) });
    let ends = || crate::jobs::window::why(&coverage.end, lines);
    if *line != Line::Newest && coverage.history.is_none() {
        return no(format!("it does not lie on {}", named(*line)));
    }
    match target {
        Target::Latest if line.ends_with(&coverage.end) || lines.is_empty() => None,
        Target::Latest => no(format!("its way ends at {until}: {}", ends())),
        Target::Time(at) if *at < earliest => {
            no(format!("it is younger: it was whole at {earliest}"))
        }
        Target::Time(at) if *at > until => {
            no(format!("nothing later than {until} can be proven: {}", ends()))
        }
        Target::Backup | Target::Time(_) => None,
        Target::Gtid(wanted) => {
            if let Some(missing) = wanted.missing_from(&coverage.reached) {
                return no(format!("{} cannot be reached from it: {}", missing.text, ends()));
            }
            let has = &coverage.begins;
            let all = wanted.is_within(has) && !has.is_within(wanted);
            if all { no("it has more than that already".into()) } else { None }
        }
        Target::Before(gtid) => before(gtid, coverage, &no, ends),
    }
}

fn named(line: Line) -> String {
    match line {
        Line::Newest => "the line that is archived now".into(),
        Line::History(id) => format!("history {id}"),
        Line::Fork(record) => format!("the line that was left at fork record {record}"),
    }
}

fn unknown(line: Line) -> JobError {
    JobError::target(
        format!("{} is not in the log", named(line)),
        "`backstay window` lists the histories and forks",
    )
}

fn before(
    gtid: &crate::model::Gtid,
    coverage: &Coverage<'_>,
    no: &impl Fn(String) -> Option<Unfit>,
    ends: impl Fn() -> String,
) -> Option<Unfit> {
    if coverage.begins.has(gtid) {
        return no(format!("it has {gtid} already"));
    }
    if !coverage.reached.has(gtid) {
        return no(format!("{gtid} cannot be reached from it: {}", ends()));
    }
    None
}

fn refused(target: &Target, unfits: &[Unfit]) -> JobError {
    let shown = unfits.iter().take(3).map(|unfit| format!("{}: {}", unfit.id, unfit.why));
    let more = match unfits.len() {
        0..=3 => String::new(),
        count => format!(" (and {} older ones)", count - 3),
    };
    let best = unfits.iter().filter_map(|unfit| unfit.until).max();
    let best = best.map_or_else(String::new, |at| format!("; the latest point is {at}"));
    JobError::target(
        format!("{target} cannot be reached: {}{more}{best}", shown.collect::<Vec<_>>().join("; ")),
        "`backstay window` shows what can; --history and --fork follow older lines",
    )
}
