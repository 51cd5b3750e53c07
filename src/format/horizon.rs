//! The horizon of the binlog log: what lies behind it has been forgotten.

use serde::{Deserialize, Serialize};

use super::Payload;
use crate::model::{ClusterUuid, RunId, Timestamp};

/// How much of the log is still there. The newest one counts whose `thinned` checkpoint exists.
/// Signed by the run that wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HorizonRecord {
    /// Format version.
    pub version: u64,
    /// The cluster.
    pub cluster_uuid: ClusterUuid,
    /// Counts from 1.
    pub number: u64,
    /// The run that wrote it.
    pub run_id: RunId,
    /// When, by that run's clock.
    pub at: Timestamp,
    /// The number of a checkpoint: it and all records before it are forgotten. 0 when none are.
    pub begins: u64,
    /// The number of a checkpoint behind that: of the records before it only those are kept that it,
    /// or a checkpoint before it, names.
    pub thinned: u64,
}

impl Payload for HorizonRecord {
    const WHAT: &'static str = "horizon record";
    const TYPE: &'static str = "application/vnd.backstay.horizon+json";
    const VERSION: u64 = 1;
}
