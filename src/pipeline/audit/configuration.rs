//! The settings of a kind of job: recorded when they are not those that were seen last.

use std::collections::BTreeMap;

use super::{Act, append, scan};
use crate::{
    format::{
        AuditRecord,
        audit::{ConfigurationDetails, Details, action},
    },
    model::Sha256Digest,
    pipeline::{Author, PipelineError, repository::digest},
};

/// How far back to look for the settings that were seen last. When those lie further back they are
/// recorded once more, which says nothing wrong.
const LOOKED_AT: u64 = 256;

/// What a job is set up to do: names and values, none of them secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// With one more; nothing is added for a value that there is not.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            // One line each, so that the digest is of one text alone.
            let value = value.to_string().replace(['\n', '\r'], " ");
            self.0.insert(name.to_owned(), value);
        }
        self
    }

    /// SHA-256 of `name=value` lines in the order of the names, each ended by a line feed.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        let mut lines = String::new();
        for (name, value) in &self.0 {
            lines.extend([name, "=", value, "\n"]);
        }
        digest(lines.as_bytes())
    }
}

/// Records the settings of a job, unless they are those of its last act. Returns their digest.
///
/// # Errors
/// When the store fails.
pub async fn seen(
    author: &Author,
    job: &str,
    settings: &Settings,
) -> Result<Sha256Digest, PipelineError> {
    let now = settings.digest();
    let head = scan::head(&author.repository).await?;
    let mut last = None;
    scan::backwards(&author.repository, head.number, LOOKED_AT, |record| {
        last = of(record, job);
        last.is_none()
    })
    .await?;
    if last != Some(now) {
        let details = ConfigurationDetails { settings: settings.0.clone() };
        let act = Act::new(action::CONFIGURATION_SEEN, job)
            .record(now)
            .details(Details::Configuration(details));
        append(author, &act).await?;
    }
    Ok(now)
}

/// The settings that a record tells of, when it is of this job.
fn of(record: &AuditRecord, job: &str) -> Option<Sha256Digest> {
    if record.action == action::CONFIGURATION_SEEN {
        return record.record_sha256.filter(|_| record.subject == job);
    }
    record.configuration.filter(|_| record.job() == job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_of_lines_in_the_order_of_names() {
        let settings = Settings::default()
            .with("rpo", Some("1s"))
            .with("engine", Some("clone\nx=y"))
            .with("lock", None::<&str>);
        assert_eq!(settings.digest(), digest(b"engine=clone x=y\nrpo=1s\n"));
    }
}
