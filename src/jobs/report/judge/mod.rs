//! What the facts show of each control. Pure: facts in, sentences out, and `now` among the facts.
//!
//! A control holds only when every part of it that is looked at is shown; a part without evidence makes
//! it "not shown", and one that is seen not to be so makes it fail.

mod access;
mod keys;
mod response;
mod stored;
mod trail;
mod transport;

#[cfg(test)]
mod tests;

use super::{
    document::{Control, Evidence},
    facts::Facts,
};

/// The catalogue that the numbers are of.
pub(super) const CATALOGUE: &str = "PCI DSS 4.0.1";

/// Judges all controls.
pub(super) fn judge(facts: &Facts) -> Vec<Control> {
    vec![
        Control::new(
            "3.5",
            "Stored data is unreadable",
            "Account data is unreadable wherever it is stored: here, every backup and every archived \
             binary log is sealed before it leaves.",
            stored::sealed(facts),
        ),
        Control::new(
            "3.6",
            "Keys are secured",
            "Keys that protect stored data are stored apart from it, are as strong, and are in the \
             hands of as few as possible.",
            keys::secured(facts),
        ),
        Control::new(
            "3.7",
            "Keys are managed through their life",
            "Keys are changed at the end of their cryptoperiod, here one year, and replaced when they \
             have to be.",
            keys::managed(facts),
        ),
        Control::new(
            "4.2",
            "Data is protected on the way",
            "Every connection that carries data uses strong cryptography, to a peer that was verified.",
            transport::protected(facts),
        ),
        Control::new(
            "7",
            "Access is restricted to those who need it",
            "Who writes backups and who opens them is known, and they are not the same.",
            access::restricted(facts),
        ),
        Control::new(
            "8.6",
            "System accounts are managed",
            "Jobs authenticate with credentials that are short-lived or renewed, not with long-lived \
             keys.",
            access::accounts(facts),
        ),
        Control::new(
            "10.2",
            "What happens is logged",
            "Every act on backups is logged: who, what, when, on what, and how it ended.",
            trail::complete(facts),
        ),
        Control::new(
            "10.3",
            "Logs are protected",
            "Logs cannot be altered or removed unnoticed, and not removed at all before their time.",
            trail::protected(facts),
        ),
        Control::new(
            "10.5",
            "Log history is kept",
            "Logs are kept for at least twelve months.",
            trail::kept(facts),
        ),
        Control::new(
            "12.10",
            "The plan for an incident works",
            "Data can be brought back: restores are tried and proven, backups are verified, nothing is \
             missing.",
            response::works(facts),
        ),
    ]
}

/// A number and what there is that many of, as one or as many of them are called.
fn number(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// The same, of a number that was counted elsewhere.
fn of(n: u64, one: &str, many: &str) -> String {
    number(usize::try_from(n).unwrap_or(usize::MAX), one, many)
}

/// The first few, and how many more there are.
fn some<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    const SHOWN: usize = 3;
    let all: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The records that acts left, as evidence.
fn head(facts: &Facts) -> Vec<Evidence> {
    facts.trail.last.iter().map(|mark| mark.evidence.clone()).collect()
}
