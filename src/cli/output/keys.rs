//! `keys` for people.

use std::fmt::Write as _;

use super::{Text, describe, table};
use crate::jobs::keys::{
    NewKeys, NewTrust,
    rewrap::Rewrapped,
    status::{KekStatus, KeyStatus},
};

/// Failures that are told one by one; JSON has all of them.
const SHOWN: usize = 20;

impl Text for NewKeys {
    fn text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "KEK     {}  wraps and unwraps; without it no backup opens: keep a copy elsewhere",
            self.kek.display()
        );
        if let Some(public) = &self.kek_public {
            let _ = writeln!(
                out,
                "public  {}  wraps only: for identities that may only write",
                public.display()
            );
        }
        if let Some(signer) = &self.signer {
            let _ = writeln!(out, "signer  {}  signs what a run writes", signer.display());
        }
        if let Some(trust) = &self.trust {
            let _ = writeln!(out, "trust   {}  whom readers believe", trust.display());
        }
        out
    }
}

impl Text for NewTrust {
    fn text(&self) -> String {
        let pins = self.cluster_uuid.map_or_else(String::new, |uuid| format!(", pins {uuid}"));
        format!("trust   {}  believes signer {}{pins}\n", self.trust.display(), self.signer)
    }
}

impl Text for Rewrapped {
    fn text(&self) -> String {
        let mut out = String::new();
        let version =
            self.to_version.as_deref().map_or_else(String::new, |v| format!(" version {v}"));
        let headline = match self.status {
            "complete" => format!("Every DEK is wrapped by {}{version}.", self.to),
            "stopped" => "STOPPED by a signal: run it again to go on.".into(),
            _ => "INCOMPLETE: put right what is named below, and run it again.".into(),
        };
        let _ = writeln!(out, "{headline}");
        let _ = writeln!(out, "  DEKs        {}", self.deks);
        let opened =
            if self.rewrapped > 0 { format!(", opened by {}", self.from) } else { String::new() };
        let _ = writeln!(out, "  rewrapped   {}{opened}", self.rewrapped);
        let _ = writeln!(out, "  already     {}", self.already);
        if self.dropped > 0 {
            let _ = writeln!(
                out,
                "  dropped     {}, which the KEKs named by --drop open no more",
                self.dropped
            );
        }
        if self.not_tried > 0 {
            let _ = writeln!(out, "  not tried   {}", self.not_tried);
        }
        let _ = writeln!(out, "  failed      {}", self.failed.len());
        for failed in self.failed.iter().take(SHOWN) {
            let _ = writeln!(out, "    {}  {}", failed.dek_id, failed.why);
        }
        if self.failed.len() > SHOWN {
            let _ = writeln!(out, "    and {} more: see --format json", self.failed.len() - SHOWN);
        }
        let _ = writeln!(out, "  took        {:.1} s", self.elapsed_seconds);
        if !self.to_opens {
            let _ = writeln!(
                out,
                "  NOT PROVEN  this identity cannot unwrap with the new KEK: prove it by a `backstay restore` with it"
            );
        }
        if let Some(head) = &self.audit_head {
            let _ = writeln!(out, "  audit head  {head}");
        }
        let _ = writeln!(out, "Note: {}.", self.warning);
        out
    }
}

impl Text for KeyStatus {
    fn text(&self) -> String {
        let mut out = String::new();
        if self.keks.is_empty() {
            out.push_str("There is no DEK.\n");
        } else {
            out.push_str(&table(&rows(&self.keks)));
        }
        for kek in self.keks.iter().filter(|kek| kek.only.deks > 0) {
            let _ = writeln!(
                out,
                "Only {} opens {} (DEKs: {}).",
                kek.kek, kek.only.sealed, kek.only.deks
            );
        }
        for kek in self.keks.iter().filter(|kek| kek.superseded > 0) {
            let _ = writeln!(
                out,
                "{} wraps DEKs in older key records alone ({}): backstay opens none of them by it, and whoever \
                 holds it and a copy of these records does.",
                kek.kek, kek.superseded
            );
        }
        let _ = writeln!(
            out,
            "DEKs: {}; opened by one KEK alone: {}.",
            self.deks, self.deks_with_one_kek
        );
        for warning in &self.warnings {
            let _ = writeln!(out, "WARNING  {warning}");
        }
        for problem in &self.findings {
            let _ = writeln!(out, "DAMAGED  {}", describe(problem));
        }
        out
    }
}

fn rows(keks: &[KekStatus]) -> Vec<[String; 8]> {
    let head =
        ["KEK", "VERSION", "OPENS", "ONLY IT", "OLDEST WRAP", "NEWEST WRAP", "DAYS", "IN USE"];
    let mut rows = vec![head.map(String::from)];
    rows.extend(keks.iter().map(|kek| {
        [
            kek.kek.clone(),
            kek.kek_version.clone().unwrap_or_else(|| "-".into()),
            kek.deks.to_string(),
            kek.only.deks.to_string(),
            kek.oldest_wrap.to_string(),
            kek.newest_wrap.to_string(),
            kek.age_days.to_string(),
            if kek.in_use { "yes" } else { "no" }.into(),
        ]
    }));
    rows
}
