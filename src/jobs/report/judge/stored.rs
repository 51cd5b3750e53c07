//! 3.5: is what is stored unreadable?

use super::{number, some};
use crate::jobs::report::{
    document::{Evidence, Statement},
    facts::{BackupFact, Facts, SealedFact},
};

pub(super) fn sealed(facts: &Facts) -> Vec<Statement> {
    let mut said = Vec::new();
    let (good, bad): (Vec<&SealedFact>, Vec<&SealedFact>) =
        facts.sealed.iter().partition(|object| object.wrong.is_none());
    if !bad.is_empty() {
        let why = some(bad.iter().map(|object| {
            format!("{} ({})", object.object, object.wrong.as_deref().unwrap_or_default())
        }));
        said.push(
            Statement::fails(format!(
                "{} sealed, and should be: {why}.",
                number(bad.len(), "object is not", "objects are not")
            ))
            .shown_by(bad.iter().map(|object| object.evidence())),
        );
    }
    if !good.is_empty() {
        said.push(
            Statement::holds(format!(
                "Of {} volumes and segments {} were looked at; each begins as an object that is sealed with \
                 AES-256-GCM under keys from HKDF-SHA256, of this cluster and the run and DEK that its \
                 signed record names.",
                facts.sealed_total,
                good.len()
            ))
            .shown_by(good.iter().map(|object| object.evidence())),
        );
    }
    if !facts.backups.is_empty() {
        said.push(
            Statement::remark(format!(
                "{} the hash of every volume, so that each can be checked with `sha256sum` and no key; \
                 `backstay verify` opens every chunk.",
                number(facts.backups.len(), "signed manifest names", "signed manifests name")
            ))
            .shown_by(facts.backups.iter().map(BackupFact::evidence)),
        );
    }
    if !facts.unbelieved.is_empty() {
        let objects =
            facts.unbelieved.iter().map(|f| Evidence { object: f.object.clone(), sha256: None });
        said.push(
            Statement::not_shown(format!(
                "{} not believed, and nothing is shown of what that stands for: {}.",
                number(facts.unbelieved.len(), "manifest is", "manifests are"),
                some(facts.unbelieved.iter().map(|f| &f.object))
            ))
            .shown_by(objects),
        );
    }
    if facts.sealed.is_empty() && facts.unbelieved.is_empty() {
        said.push(Statement::not_shown(
            "Nothing is stored yet: there is no volume and no segment.",
        ));
    }
    said
}
