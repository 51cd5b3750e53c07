//! `audit` for people.

use std::fmt::Write as _;

use super::{Text, describe, recorded};
use crate::jobs::audit::Audited;

impl Text for Audited {
    fn text(&self) -> String {
        let mut out = String::new();
        for problem in &self.findings {
            let _ = writeln!(out, "{}", describe(problem));
        }
        for act in &self.without_end {
            let why = if act.is_over { "killed" } else { "going on, or killed" };
            let _ = writeln!(
                out,
                "without end  record {}, {}: {} {} by run {}: {why}",
                act.number, act.at, act.action, act.subject, act.run_id
            );
        }
        if self.more_without_end > 0 {
            let _ = writeln!(out, "without end  and {} more", self.more_without_end);
        }
        let span = match (self.first_at, self.last_at) {
            (Some(first), Some(last)) => format!(", from {first} to {last}"),
            _ => String::new(),
        };
        let _ = writeln!(out, "{} records{span}: {}.", self.records, self.status);
        let fresh = if self.freshness_proven {
            "proven by --at-least"
        } else {
            "not proven (give --at-least)"
        };
        let _ = writeln!(out, "freshness   {fresh}");
        recorded(&mut out, "", &self.recorded);
        out
    }
}
