//! 7 and 8.6: who did it, and with what right?

use super::{number, of, some};
use crate::{
    jobs::report::{
        document::{Evidence, Identity, Statement},
        facts::{AccessFact, Facts},
    },
    model::AccessKind,
};

/// Whether these are actions of someone who opens what is sealed.
fn opens(identity: &Identity) -> bool {
    let first_word = |action: &str| action.split('-').next().unwrap_or_default().to_owned();
    identity
        .actions
        .keys()
        .any(|a| matches!(&*first_word(a), "restore" | "plan" | "find" | "rewrap" | "drill"))
}

fn writes(identity: &Identity) -> bool {
    matches!(identity.role, "backup" | "archive")
}

pub(super) fn restricted(facts: &Facts) -> Vec<Statement> {
    let people = &facts.trail.identities;
    if people.is_empty() {
        return vec![Statement::not_shown("Nobody did anything in the period that is recorded.")];
    }
    let evidence = || super::head(facts);
    let mut said = Vec::new();
    if facts.trail.nameless.is_empty() {
        said.push(
            Statement::holds(format!(
                "Every act of the period is signed by a run for which a trusted signer vouches, and says who ran \
                 it: {}.",
                number(people.len(), "identity", "identities")
            ))
            .shown_by(evidence()),
        );
    } else {
        let runs = some(facts.trail.nameless.iter().map(|mark| mark.run));
        said.push(
            Statement::fails(format!(
                "{} not say who ran it: {runs}.",
                number(
                    facts.trail.nameless.len(),
                    "act is of a run that does",
                    "acts are of runs that do"
                )
            ))
            .shown_by(facts.trail.nameless.iter().map(|mark| mark.evidence.clone())),
        );
    }
    let opened: Vec<&str> = people.iter().filter(|p| opens(p)).map(|p| p.who.as_str()).collect();
    let both: Vec<&str> = people
        .iter()
        .filter(|p| writes(p) && opened.contains(&p.who.as_str()))
        .map(|p| p.who.as_str())
        .collect();
    if !both.is_empty() {
        said.push(Statement::not_shown(format!(
            "{} both wrote and opened what is sealed, so that the two are not shown to be different rights.",
            some(dedup(both))
        )));
    } else if opened.is_empty() {
        said.push(Statement::holds("Nobody who is recorded opened anything in the period."));
    } else {
        said.push(Statement::holds(format!(
            "Who opened something ({}) wrote nothing, and who wrote opened nothing.",
            some(dedup(opened))
        )));
    }
    said.push(Statement::remark(
        "Whoever reads the bucket and holds a KEK, and uses no signer, leaves no record here: the logs of the \
         store and of the key service show it.",
    ));
    said
}

fn dedup(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names.dedup();
    names
}

pub(super) fn accounts(facts: &Facts) -> Vec<Statement> {
    let told = &facts.trail.accesses;
    if told.is_empty() {
        return vec![Statement::not_shown(
            "The runs of the period do not say with which credentials they reached the object store.",
        )];
    }
    let mut said: Vec<Statement> = told.iter().map(one).collect();
    said.sort_by_key(|statement| std::cmp::Reverse(statement.status));
    said
}

fn one(fact: &AccessFact) -> Statement {
    let AccessFact { kind, principal, acts, last } = fact;
    let to = "the object store";
    let acts = of(*acts, "act", "acts");
    let whom = principal.as_ref().map_or_else(String::new, |p| format!(" as {p}"));
    let evidence: [Evidence; 1] = [last.evidence.clone()];
    let text = match kind {
        AccessKind::Local => {
            format!("{acts} needed no credentials for {to}: it is on the machine.")
        }
        AccessKind::WebIdentity => {
            format!(
                "{acts} reached {to}{whom} with a token that the platform renews, for short-lived credentials."
            )
        }
        AccessKind::PodIdentity => {
            format!("{acts} reached {to}{whom} with short-lived credentials of the pod's identity.")
        }
        AccessKind::Instance => {
            format!(
                "{acts} reached {to}{whom} with short-lived credentials of the machine's identity."
            )
        }
        AccessKind::Static => format!(
            "{acts} reached {to}{whom} with long-lived keys, the last one at {} by run {}; that they are changed \
             in time is not to be seen.",
            last.at, last.run
        ),
        AccessKind::Unknown => format!("With which credentials {acts} reached {to} is not known."),
    };
    let statement = match kind {
        AccessKind::Static => Statement::fails(text),
        AccessKind::Unknown => Statement::not_shown(text),
        _ => Statement::holds(text),
    };
    statement.shown_by(evidence)
}
