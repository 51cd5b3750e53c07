//! Is it really now? A wrong clock would make everything look old.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    crypto,
    format::layout,
    jobs::JobError,
    model::Timestamp,
    pipeline::{PipelineError, Repository, key},
};

/// How far clocks may be apart.
const APART: Duration = Duration::from_mins(5);

const HINT: &str = "set this machine's clock right (NTP), and look at `date -u`: by a wrong clock prune would \
                    remove what it must keep";

/// Refuses a time that lies before what the repository has seen already.
pub(super) fn against_records(
    now: Timestamp,
    newest: Option<&(Timestamp, String)>,
) -> Result<(), JobError> {
    match newest {
        Some((at, what)) if *at > now.plus(APART) => Err(JobError::preflight(
            format!("this machine's clock says {now}, and {what} is of {at}"),
            HINT,
        )),
        _ => Ok(()),
    }
}

/// Refuses a time that is not the store's. It writes an object of its own, and looks when the
/// store says that it was written.
pub(super) async fn against_store(repository: &Repository) -> Result<(), JobError> {
    let unique = hex::encode(crypto::random::<16>().map_err(PipelineError::from)?);
    let name = format!("{}clock-{unique}", layout::probes(repository.cluster()));
    let object = key(&name)?;
    let store = repository.store();
    let before = Timestamp::now();
    store.create(&object, Bytes::from("what time is it?\n")).await.map_err(PipelineError::from)?;
    let looked = store.head(&object).await;
    let removed = store.erase(&object).await;
    let at = looked.map_err(PipelineError::from)?.modified;
    removed.map_err(PipelineError::from)?;
    match at {
        Some(at) if at.plus(APART) < before || at > Timestamp::now().plus(APART) => {
            Err(JobError::preflight(
                format!("this machine's clock says {before}, and the store's {at}"),
                HINT,
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_newest_record_is_refused() {
        let now = Timestamp::from_microseconds(1_800_000_000_000_000).unwrap();
        let newest =
            |seconds| Some((now.plus(Duration::from_secs(seconds)), "backup b".to_owned()));
        assert!(against_records(now, None).is_ok());
        assert!(against_records(now, newest(299).as_ref()).is_ok());
        let error = against_records(now, newest(301).as_ref()).unwrap_err();
        assert!(error.to_string().contains("backup b is of"), "{error}");
    }
}
