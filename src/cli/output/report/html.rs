//! The report as one page, without anything from elsewhere: for an auditor's screen, and for paper.

use std::fmt::{Display, Write as _};

use super::{SHOWN, shown, word};
use crate::jobs::report::{Control, Report, Statement, Status};

/// How it looks.
const STYLE: &str = include_str!("page.css");

/// A page that is being written. What is told goes through `text`, so that nothing of it is markup.
#[derive(Default)]
struct Page(String);

impl Page {
    fn raw(&mut self, markup: &str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    fn text(&mut self, text: impl Display) -> &mut Self {
        for c in text.to_string().chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
        self
    }

    /// An element with a text in it; the tag may have attributes.
    fn element(&mut self, tag: &'static str, text: impl Display) -> &mut Self {
        let name = tag.split(' ').next().unwrap_or(tag);
        let _ = write!(self.0, "<{tag}>");
        self.text(text);
        let _ = write!(self.0, "</{name}>");
        self
    }

    fn badge(&mut self, status: Option<Status>) -> &mut Self {
        let tag = match status {
            Some(Status::Holds) => "span class=\"badge holds\"",
            Some(Status::Fails) => "span class=\"badge fails\"",
            Some(Status::NotShown) => "span class=\"badge unknown\"",
            None => "span class=\"badge remark\"",
        };
        self.element(tag, word(status).to_lowercase())
    }

    fn table<const N: usize>(&mut self, title: &str, heads: [&str; N], rows: Vec<[String; N]>) {
        self.raw("<section class=\"list\">").element("h3", title);
        if rows.is_empty() {
            self.element("p class=\"none\"", "None in the period.").raw("</section>");
            return;
        }
        self.raw("<table><thead><tr>");
        for head in heads {
            self.element("th", head);
        }
        self.raw("</tr></thead><tbody>");
        for row in rows {
            self.raw("<tr>");
            for cell in row {
                self.element("td", cell);
            }
            self.raw("</tr>");
        }
        self.raw("</tbody></table></section>");
    }
}

/// The whole page.
pub(in crate::cli) fn page(report: &Report) -> String {
    let mut page = Page::default();
    page.raw("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.element("title", format!("Backup evidence, cluster {}", report.cluster));
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>");
    page.raw(STYLE).raw("</style></head><body><main>");
    cover(&mut page, report);
    overview(&mut page, report);
    page.raw("<section class=\"controls\">").element("h2", "Controls, one by one");
    for one in &report.controls {
        control(&mut page, one);
    }
    page.raw("</section>");
    appendix(&mut page, report);
    page.raw("</main></body></html>\n");
    page.0
}

fn cover(page: &mut Page, report: &Report) {
    page.raw("<header class=\"cover\">");
    page.element("p class=\"kind\"", format!("Backup evidence, {}", report.catalogue));
    page.element("h1", format!("Cluster {}", report.cluster));
    page.raw("<p class=\"period\">")
        .text(report.since)
        .raw(" <span>to</span> ")
        .text(report.until)
        .raw("</p>");
    page.raw("<div class=\"sum\">");
    let sum = &report.summary;
    for (tag, number, what) in [
        ("div class=\"number holds\"", sum.holds, "hold"),
        ("div class=\"number fails\"", sum.fails, "fail"),
        ("div class=\"number unknown\"", sum.not_shown, "not shown"),
    ] {
        page.raw("<div>").element(tag, number).element("div class=\"what\"", what).raw("</div>");
    }
    page.raw("</div><dl>");
    let fresh = if report.freshness_proven {
        "proven: the chain contains a head that was kept elsewhere"
    } else {
        "not proven: no head that was kept elsewhere was given"
    };
    let none = || "no binary log is archived".to_owned();
    for (name, value) in [
        ("Repository", report.repository.clone()),
        ("Cluster uuid", report.cluster_uuid.clone()),
        ("Made", format!("{} by backstay {}", report.generated_at, report.tool_version)),
        ("Audit head", report.audit_head.clone()),
        ("Log head", report.log_head.clone().unwrap_or_else(none)),
        ("Freshness", fresh.to_owned()),
    ] {
        page.element("dt", name).element("dd", value);
    }
    page.raw("</dl>");
    page.element(
        "p class=\"how\"",
        "Each statement below names the stored objects that show it, with the SHA-256 of their bytes. Holds: the \
         evidence shows it. Fails: the evidence shows that it is not so. Not shown: there is no evidence, or not \
         enough; it says nothing of whether it is so. The hash of this document is in the audit chain, in the \
         record report-made: compare it with sha256sum.",
    );
    page.raw("</header>");
}

fn overview(page: &mut Page, report: &Report) {
    page.raw("<section class=\"overview\">").element("h2", "Overview");
    page.raw("<table><thead><tr><th>Control</th><th>Status</th><th>What is shown</th></tr></thead><tbody>");
    for control in &report.controls {
        page.raw("<tr><td class=\"id\"><a href=\"#c").text(control.id).raw("\">").text(control.id);
        page.raw("</a></td><td>").badge(Some(control.status)).raw("</td><td>");
        page.element("strong", control.title).raw("<br>").text(&control.sentence);
        page.raw("</td></tr>");
    }
    page.raw("</tbody></table></section>");
}

fn control(page: &mut Page, control: &Control) {
    page.raw("<article id=\"c").text(control.id).raw("\"><h3><span class=\"id\">").text(control.id);
    page.raw("</span> ").text(control.title).raw(" ").badge(Some(control.status)).raw("</h3>");
    page.element("p class=\"asks\"", control.asks).raw("<ul>");
    for one in &control.statements {
        statement(page, one);
    }
    page.raw("</ul></article>");
}

fn statement(page: &mut Page, statement: &Statement) {
    page.raw("<li>").badge(statement.status).raw(" ").text(&statement.text);
    if !statement.evidence.is_empty() {
        page.raw("<ol class=\"evidence\">");
        for evidence in statement.evidence.iter().take(SHOWN) {
            page.element("li", shown(evidence));
        }
        let more = statement.evidence_total.saturating_sub(SHOWN as u64);
        if more > 0 {
            page.element(
                "li class=\"more\"",
                format!("and {more} more, in the JSON form of this report"),
            );
        }
        page.raw("</ol>");
    }
    page.raw("</li>");
}

fn appendix(page: &mut Page, report: &Report) {
    let lists = &report.appendix;
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    page.raw("<section class=\"appendix\">").element("h2", "Appendix");
    let people = lists.identities.iter().map(|i| {
        let acts: Vec<_> = i.actions.iter().map(|(action, n)| format!("{action} ({n})")).collect();
        let hosts = format!("{} ({})", i.hosts.join(", "), i.hosts_total);
        [i.who.clone(), hosts, i.role.to_owned(), acts.join(", "), i.last_at.to_string()]
    });
    page.table("Identities", ["Who", "Hosts", "Role", "Records", "Last"], people.collect());
    let connections = lists.connections.iter().map(|c| {
        let tls = c.connection.tls.as_ref();
        let tls = tls.map_or_else(|| "-".into(), |tls| format!("{}, {}", tls.version, tls.cipher));
        let security = format!("{:?}", c.connection.security);
        [c.connection.to.to_string(), security, tls, c.acts.to_string(), c.last_at.to_string()]
    });
    page.table("Connections", ["To", "Security", "TLS", "Acts", "Last"], connections.collect());
    let keks = lists.keks.iter().map(|k| {
        let use_ = if k.in_use { "yes" } else { "no" };
        let version = or(&k.kek_version);
        [
            k.kek.clone(),
            version,
            k.deks.to_string(),
            k.oldest_wrap.to_string(),
            k.age_days.to_string(),
            use_.into(),
        ]
    });
    page.table("Keys", ["KEK", "Version", "DEKs", "Oldest wrap", "Days", "In use"], keks.collect());
    let backups = lists.backups.iter().map(|b| {
        [
            b.backup_id.clone(),
            b.finished_at.to_string(),
            b.proof.clone(),
            b.manifest_sha256.to_string(),
        ]
    });
    page.table(
        "Backups",
        ["Backup", "Finished", "Proof", "SHA-256 of the manifest"],
        backups.collect(),
    );
    let restores = lists.restores.iter().map(|r| {
        let result = match (&r.failure, r.proven) {
            (Some(why), _) => why.clone(),
            (None, true) => "proven".into(),
            (None, false) => "done, not proven".into(),
        };
        [
            r.at.to_string(),
            r.action.clone(),
            or(&r.backup_id),
            r.target.clone(),
            result,
            r.who.clone(),
        ]
    });
    page.table(
        "Restores",
        ["When", "Act", "Backup", "Target", "Result", "Who"],
        restores.collect(),
    );
    let verified = lists.verifications.iter().map(|v| {
        [v.at.to_string(), v.subject.clone(), v.mode.clone(), v.result.clone(), v.who.clone()]
    });
    page.table("Verifications", ["When", "Of", "Mode", "Result", "Who"], verified.collect());
    for (title, rows) in [("Gaps", &lists.gaps), ("Forks", &lists.forks)] {
        let rows = rows.iter().map(|g| {
            [
                g.at.to_string(),
                g.record.to_string(),
                g.server.clone(),
                g.transactions.to_string(),
                g.which.clone(),
            ]
        });
        page.table(
            title,
            ["Found", "Log record", "Server", "Transactions", "Which"],
            rows.collect(),
        );
    }
    let open = lists.without_end.iter().map(|a| {
        [
            a.number.to_string(),
            a.at.to_string(),
            a.action.clone(),
            a.subject.clone(),
            a.run_id.to_string(),
        ]
    });
    page.table("Acts without an end", ["Record", "Began", "Act", "On", "Run"], open.collect());
    let seen = lists.configurations.iter().map(|c| {
        let settings: Vec<_> = c.settings.iter().map(|(n, v)| format!("{n} = {v}")).collect();
        [c.at.to_string(), c.job.clone(), settings.join("; ")]
    });
    page.table("Settings that were seen", ["When", "Job", "Settings"], seen.collect());
    page.raw("</section>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_never_markup() {
        let mut page = Page::default();
        page.element("td class=\"x\"", "<script>alert('1') & \"2\"</script>");
        assert_eq!(
            page.0,
            "<td class=\"x\">&lt;script&gt;alert(&#39;1&#39;) &amp; &quot;2&quot;&lt;/script&gt;</td>"
        );
    }

    #[test]
    fn the_style_asks_for_nothing_from_elsewhere() {
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import") && !STYLE.contains('<'));
    }
}
