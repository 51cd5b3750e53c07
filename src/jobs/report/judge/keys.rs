//! 3.6 and 3.7: the keys.

use std::collections::BTreeSet;

use super::{number, of, some};
use crate::jobs::{
    keys::status::{KekStatus, ROTATE_AFTER_DAYS},
    report::{
        document::{Evidence, Statement},
        facts::{Facts, KeyFact},
    },
};

/// The wraps of a symmetric KEK in a file.
const SYMMETRIC: &str = "aes256gcm-hkdf-sha256";
/// An archiver's DEK is renewed after a day; while the key service is away it serves three.
const LONGEST_USE_HOURS: f64 = 73.0;

/// Whether the KEK lies in a file.
fn is_file(kek: &str) -> bool {
    kek.starts_with("file:")
}

fn name(kek: &KekStatus) -> String {
    match &kek.kek_version {
        Some(version) => format!("{} (version {version})", kek.kek),
        None => kek.kek.clone(),
    }
}

pub(super) fn secured(facts: &Facts) -> Vec<Statement> {
    let mut said = Vec::new();
    let keys = &facts.keys;
    if keys.is_empty() {
        return vec![Statement::not_shown("There is no key record yet.")];
    }
    let evidence = || keys.iter().map(KeyFact::evidence);
    let wrapping: BTreeSet<&str> =
        keys.iter().flat_map(|key| &key.wraps).map(|(kek, _)| kek.as_str()).collect();
    let algorithms: BTreeSet<&str> =
        keys.iter().flat_map(|key| &key.wraps).map(|(_, algorithm)| algorithm.as_str()).collect();
    said.push(
        Statement::holds(format!(
            "{} stored, none of them but wrapped: by {}, with {}. No KEK is in the repository.",
            number(keys.len(), "DEK is", "DEKs are"),
            some(&wrapping),
            some(&algorithms)
        ))
        .shown_by(evidence()),
    );
    let files: Vec<_> = wrapping.iter().filter(|kek| is_file(kek)).collect();
    if files.is_empty() {
        said.push(Statement::holds(
            "Every KEK is in a key service: it never leaves it, and what it wraps and unwraps is logged there.",
        ));
    } else {
        said.push(Statement::not_shown(format!(
            "{} in a file; who can read it is not to be seen from here. A KEK in a key service cannot be copied.",
            match files.len() {
                1 => format!("KEK {} is", files[0]),
                _ => format!("KEKs {} are", some(&files)),
            }
        )));
    }
    let symmetric: Vec<_> =
        keys.iter().filter(|key| key.wraps.iter().any(|(_, a)| a == SYMMETRIC)).collect();
    if !symmetric.is_empty() {
        said.push(
            Statement::not_shown(format!(
                "{} wrapped by a symmetric KEK in a file: whoever wrote that could open it, too, so that writing \
                 and opening are not different rights.",
                number(symmetric.len(), "DEK is", "DEKs are")
            ))
            .shown_by(symmetric.iter().map(|key| key.evidence())),
        );
    }
    let findings = &facts.key_status.findings;
    if !findings.is_empty() {
        said.push(
            Statement::not_shown(format!(
                "{} not believed: {}.",
                number(findings.len(), "key record is", "key records are"),
                some(findings.iter().map(|f| format!("{}: {}", f.object, f.why)))
            ))
            .shown_by(findings.iter().map(|f| Evidence { object: f.object.clone(), sha256: None })),
        );
    }
    let single = facts.key_status.deks_with_one_kek;
    if single > 0 {
        said.push(Statement::remark(format!(
            "{single} of {} DEKs are opened by one KEK alone: losing it loses what they seal.",
            facts.key_status.deks
        )));
    }
    said
}

pub(super) fn managed(facts: &Facts) -> Vec<Statement> {
    let mut said = Vec::new();
    let used: Vec<&KekStatus> = facts.key_status.keks.iter().filter(|kek| kek.in_use).collect();
    let records = |kek: &KekStatus| {
        let by = facts.keys.iter().filter(|key| key.wraps.iter().any(|(name, _)| *name == kek.kek));
        by.map(KeyFact::evidence).collect::<Vec<_>>()
    };
    for kek in &used {
        let (name, days) = (name(kek), kek.age_days);
        let since = kek.oldest_wrap;
        said.push(if days > ROTATE_AFTER_DAYS {
            Statement::fails(format!(
                "{name} has been in use for {days} days, since {since}: longer than the cryptoperiod of \
                 {ROTATE_AFTER_DAYS} days."
            ))
            .shown_by(records(kek))
        } else {
            Statement::holds(format!(
                "{name} has been in use for {days} days, since {since}: within the cryptoperiod of \
                 {ROTATE_AFTER_DAYS} days."
            ))
            .shown_by(records(kek))
        });
    }
    if used.is_empty() {
        said.push(Statement::not_shown("No KEK is in use."));
    }
    for kek in facts.key_status.keks.iter().filter(|kek| !kek.in_use && kek.only.deks > 0) {
        said.push(Statement::remark(format!(
            "{} wraps nothing new, and {} opened by it alone.",
            name(kek),
            of(kek.only.deks, "DEK is", "DEKs are")
        )));
    }
    match (&facts.trail.rewrapped, &facts.trail.rewrap_failed) {
        (good, Some((failed, why))) if good.as_ref().is_none_or(|good| good.at < failed.at) => {
            said.push(
                Statement::fails(format!(
                    "The last attempt in the period to rewrap DEKs, at {}, was not completed: {why}.",
                    failed.at
                ))
                .shown_by([failed.evidence.clone()]),
            );
        }
        (Some(good), _) => said.push(
            Statement::holds(format!("DEKs were rewrapped for another KEK at {}.", good.at))
                .shown_by([good.evidence.clone()]),
        ),
        (None, _) => said.push(Statement::remark("No DEK was rewrapped in the period.")),
    }
    if let Some(Ok(log)) = &facts.log
        && let Some((run, hours)) = log.longest
    {
        let text = format!(
            "The archiver used one DEK for {hours:.1} hours at most (run {run}); it is renewed every day, and \
             within three when the key service is away."
        );
        said.push(if hours > LONGEST_USE_HOURS {
            Statement::fails(text)
        } else {
            Statement::holds(text)
        });
    }
    said
}
