//! How long recovering would take now: from what there is to fetch and to replay, and from how fast
//! drills have been. Pure.

use crate::{
    format::{DrillRecord, DrillRecovery, DrillStatus},
    model::{BackupId, DrillId, Timestamp},
};

/// Drills that are looked at: the newest.
pub(super) const DRILLS: usize = 5;

/// Bytes per second that are taken for granted where no drill has shown better: slow ones.
const ASSUMED_FETCH: f64 = 50e6;
/// The same, of files that are prepared.
const ASSUMED_PREPARE: f64 = 100e6;
/// The same, of binary log that is replayed.
const ASSUMED_REPLAY: f64 = 8e6;
/// Seconds that starting and proving are taken to need.
const ASSUMED_START: f64 = 10.0;

/// How long recovering to the latest point would take.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// The backup that it would begin with.
    pub backup_id: BackupId,
    /// All of it.
    pub seconds: f64,
    /// Fetching, opening, writing the files.
    pub fetch_seconds: f64,
    /// Preparing them.
    pub prepare_seconds: f64,
    /// Replaying the binary logs.
    pub replay_seconds: f64,
    /// Starting servers and proving.
    pub start_seconds: f64,
    /// How many drills it is measured by; 0 when speeds were assumed.
    pub measured_by: usize,
}

/// The newest drill.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LastDrill {
    /// The drill.
    pub drill_id: DrillId,
    /// How it ended.
    pub status: DrillStatus,
    /// When it ended.
    pub finished_at: Timestamp,
    /// How long recovering took, when something was recovered.
    pub seconds: Option<f64>,
}

/// What there is to do.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) backup_id: BackupId,
    /// Bytes of volumes, of all links of a chain.
    pub(super) stored_bytes: u64,
    /// Bytes of files in them.
    pub(super) payload_bytes: u64,
    /// Bytes of binary log behind it.
    pub(super) log_bytes: u64,
}

/// Estimates, with what drills have measured, newest first.
pub(super) fn estimate(work: Work, drills: &[DrillRecord]) -> Estimate {
    let measured: Vec<&DrillRecovery> =
        drills.iter().filter_map(|drill| drill.recovery.as_ref()).collect();
    let rate = |bytes: fn(&DrillRecovery) -> u64, ms: fn(&DrillRecovery) -> u64, assumed: f64| {
        let rates = measured.iter().filter(|m| bytes(m) > 0 && ms(m) > 0);
        median(rates.map(|m| float(bytes(m)) * 1000.0 / float(ms(m))).collect()).unwrap_or(assumed)
    };
    let fetch = rate(|m| m.stored_bytes, |m| m.extract_ms, ASSUMED_FETCH);
    let replay = rate(|m| m.log_bytes, |m| m.replay_ms, ASSUMED_REPLAY);
    // A clone needs no preparing: then nothing is what was measured.
    let unprepared = !measured.is_empty() && measured.iter().all(|m| m.prepare_ms == 0);
    let prepare_seconds = if unprepared {
        0.0
    } else {
        float(work.payload_bytes) / rate(|m| m.payload_bytes, |m| m.prepare_ms, ASSUMED_PREPARE)
    };
    let start = median(measured.iter().map(|m| float(m.start_ms) / 1000.0).collect());
    let start_seconds = tenth(start.unwrap_or(ASSUMED_START));
    let fetch_seconds = tenth(float(work.stored_bytes) / fetch);
    let prepare_seconds = tenth(prepare_seconds);
    let replay_seconds = tenth(float(work.log_bytes) / replay);
    Estimate {
        backup_id: work.backup_id,
        seconds: tenth(fetch_seconds + prepare_seconds + replay_seconds + start_seconds),
        fetch_seconds,
        prepare_seconds,
        replay_seconds,
        start_seconds,
        measured_by: measured.len(),
    }
}

impl From<&DrillRecord> for LastDrill {
    fn from(drill: &DrillRecord) -> Self {
        Self {
            drill_id: drill.drill_id.clone(),
            status: drill.status,
            finished_at: drill.finished_at,
            seconds: drill.recovery.as_ref().map(|recovery| float(recovery.total_ms) / 1000.0),
        }
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn float(number: u64) -> f64 {
    number as f64
}

fn tenth(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drill(recovery: Option<[u64; 7]>) -> DrillRecord {
        let id = "0a".repeat(16);
        let mut drill = serde_json::json!({
            "version": 1, "drill_id": "d", "cluster_uuid": id, "run_id": id, "status": "proven",
            "started_at": "2026-11-21T10:00:00Z", "finished_at": "2026-11-21T10:01:00Z",
            "target": "latest", "tool_version": "0.1.0",
        });
        if let Some([stored, payload, log, extract, prepare, replay, start]) = recovery {
            drill["recovery"] = serde_json::json!({
                "backup_id": "b", "manifest_sha256": "0a".repeat(32), "stored_bytes": stored,
                "payload_bytes": payload, "log_bytes": log, "transactions": 0, "extract_ms": extract,
                "prepare_ms": prepare, "replay_ms": replay, "start_ms": start, "total_ms": 0,
            });
        }
        serde_json::from_value(drill).unwrap()
    }

    fn work() -> Work {
        let backup_id = "b".parse().unwrap();
        Work { backup_id, stored_bytes: 1_000, payload_bytes: 2_000, log_bytes: 3_000 }
    }

    fn is(found: f64, wanted: f64) {
        assert!((found - wanted).abs() < 0.05, "{found} for {wanted}");
    }

    #[test]
    fn what_drills_have_measured_counts_and_an_odd_one_does_not() {
        // 100 B/s fetched, 200 B/s prepared, 300 B/s replayed, 2 s to start.
        let usual = || drill(Some([500, 1_000, 900, 5_000, 5_000, 3_000, 2_000]));
        let odd = drill(Some([500, 1_000, 900, 1, 900_000, 900_000, 900_000]));
        let found = estimate(work(), &[usual(), odd, drill(None), usual()]);
        is(found.fetch_seconds, 10.0);
        is(found.prepare_seconds, 10.0);
        is(found.replay_seconds, 10.0);
        is(found.start_seconds, 2.0);
        is(found.seconds, 32.0);
        assert_eq!(found.measured_by, 3);
    }

    #[test]
    fn without_drills_slow_ones_are_assumed_and_a_clone_needs_no_preparing() {
        let found = estimate(Work { log_bytes: 80_000_000, ..work() }, &[drill(None)]);
        assert_eq!(found.measured_by, 0);
        is(found.replay_seconds, 10.0);
        is(found.start_seconds, 10.0);
        let clone = drill(Some([500, 1_000, 0, 5_000, 0, 0, 2_000]));
        let found = estimate(Work { log_bytes: 16_000_000, ..work() }, &[clone]);
        is(found.prepare_seconds, 0.0);
        // No drill has replayed anything yet.
        is(found.replay_seconds, 2.0);
    }
}
