//! The families of metrics of a cluster.

use crate::{
    cli::exposition::{count, seconds},
    format::DrillStatus,
    jobs::exporter::{self, Seen},
    model::Timestamp,
};

/// A sample of a cluster: its further labels, and its value.
pub(super) type Sample = (Vec<(&'static str, String)>, f64);

/// What adds a family.
pub(super) type Gauge<'a> = &'a mut dyn FnMut(&str, &str, fn(&Seen) -> Vec<Sample>);

pub(super) fn backups(gauge: Gauge<'_>) {
    gauge("last_backup_timestamp_seconds", "When the newest complete backup was stored.", |seen| {
        instant(seen.newest.as_ref().map(|b| b.finished_at))
    });
    gauge("last_backup_duration_seconds", "How long its job took.", |seen| {
        seen.newest
            .as_ref()
            .map_or_else(Vec::new, |b| plain(b.finished_at.seconds_since(b.started_at)))
    });
    gauge("last_backup_read_bytes", "Bytes of its stream.", |seen| {
        seen.newest.as_ref().map_or_else(Vec::new, |b| plain(count(b.bytes_read)))
    });
    gauge("last_backup_stored_bytes", "Bytes of it in the repository.", |seen| {
        seen.newest.as_ref().map_or_else(Vec::new, |b| plain(count(b.bytes_stored)))
    });
    gauge("last_backup_info", "Its id, engine and proof; always 1.", |seen| {
        seen.newest.as_ref().map_or_else(Vec::new, |b| {
            let labels = vec![
                ("backup_id", b.id.to_string()),
                ("engine", b.engine.to_string()),
                ("proof", b.proof.to_string()),
            ];
            vec![(labels, 1.0)]
        })
    });
    gauge(
        "recovery_window_earliest_timestamp_seconds",
        "From when on every instant up to the latest can be restored.",
        |seen| instant(seen.window.map(|w| w.earliest)),
    );
    gauge(
        "recovery_window_latest_timestamp_seconds",
        "The latest instant that can be restored.",
        |seen| instant(seen.window.map(|w| w.latest)),
    );
}

pub(super) fn archive(gauge: Gauge<'_>) {
    gauge(
        "archived_until_timestamp_seconds",
        "Everything committed until then is archived, by the server's clock.",
        |seen| instant(seen.archive.as_ref().and_then(|a| a.archived_until)),
    );
    gauge(
        "archive_last_record_timestamp_seconds",
        "When the archiver last wrote to the log.",
        |seen| instant(seen.archive.as_ref().and_then(|a| a.last_record_at)),
    );
    gauge("archive_released", "Whether the last archiver has ended as it was told.", |seen| {
        archived(seen, |a| u8::from(a.released).into())
    });
    gauge("archive_epoch_number", "The epoch of the log.", |seen| {
        archived(seen, |a| count(a.epoch))
    });
    gauge("archive_gaps", "Gaps: transactions purged before they were archived.", |seen| {
        archived(seen, |a| count(a.gaps))
    });
    gauge("archive_gap_transactions", "Transactions lost in gaps, at most.", |seen| {
        archived(seen, |a| count(a.gap_transactions))
    });
    gauge("archive_forks", "Forks: archived transactions that a new primary never had.", |seen| {
        archived(seen, |a| count(a.forks))
    });
    gauge("archive_damaged", "Whether records of the log contradict one another.", |seen| {
        archived(seen, |a| u8::from(!a.in_order).into())
    });
}

pub(super) fn recovery(gauge: Gauge<'_>) {
    let help = "How long recovering to the latest point would take.";
    gauge("recovery_expected_seconds", help, |seen| {
        seen.recovery.as_ref().map_or_else(Vec::new, |expected| plain(expected.seconds))
    });
    gauge("recovery_expected_phase_seconds", "The same, by its steps.", |seen| {
        let Some(expected) = &seen.recovery else { return Vec::new() };
        [
            ("fetch", expected.fetch_seconds),
            ("prepare", expected.prepare_seconds),
            ("replay", expected.replay_seconds),
            ("start", expected.start_seconds),
        ]
        .map(|(phase, seconds)| (vec![("phase", phase.to_owned())], seconds))
        .to_vec()
    });
    let help = "Drills that this is measured by; 0 when speeds are assumed.";
    gauge("recovery_measured_by_drills", help, |seen| {
        let measured = seen.recovery.as_ref().map(|expected| expected.measured_by as u64);
        measured.map_or_else(Vec::new, |drills| plain(count(drills)))
    });
    gauge("drill_last_timestamp_seconds", "When the last drill ended.", |seen| {
        instant(seen.last_drill.as_ref().map(|drill| drill.finished_at))
    });
    gauge("drill_last_proven", "Whether the last drill was proven.", |seen| {
        let proven = seen.last_drill.as_ref().map(|drill| drill.status == DrillStatus::Proven);
        proven.map_or_else(Vec::new, |proven| plain(u8::from(proven).into()))
    });
    let help = "How long recovering took in the last drill that recovered something.";
    gauge("drill_last_recovery_seconds", help, |seen| {
        seen.last_drill.as_ref().and_then(|drill| drill.seconds).map_or_else(Vec::new, plain)
    });
}

fn archived(seen: &Seen, of: fn(&exporter::ArchiveSeen) -> f64) -> Vec<Sample> {
    seen.archive.as_ref().map_or_else(Vec::new, |archive| plain(of(archive)))
}

pub(super) fn keys(gauge: Gauge<'_>) {
    gauge("deks", "Data keys that have a believed record.", |seen| plain(count(seen.deks)));
    gauge("deks_with_one_kek", "Data keys that one KEK alone opens.", |seen| {
        plain(count(seen.deks_with_one_kek))
    });
    gauge("kek_deks", "Data keys that this KEK opens.", |seen| kek(seen, |k| count(k.deks)));
    gauge("kek_in_use", "Whether this KEK wraps the newest data key.", |seen| {
        kek(seen, |k| u8::from(k.in_use).into())
    });
    gauge(
        "kek_oldest_wrap_timestamp_seconds",
        "When this KEK wrapped for the first time: its age counts from then.",
        |seen| kek(seen, |k| seconds(k.oldest_wrap)),
    );
    gauge("kek_newest_wrap_timestamp_seconds", "When this KEK wrapped last.", |seen| {
        kek(seen, |k| seconds(k.newest_wrap))
    });
}

pub(super) fn plain(value: f64) -> Vec<Sample> {
    vec![(Vec::new(), value)]
}

pub(super) fn instant(at: Option<Timestamp>) -> Vec<Sample> {
    at.map_or_else(Vec::new, |at| plain(seconds(at)))
}

fn kek(seen: &Seen, of: fn(&exporter::KekSeen) -> f64) -> Vec<Sample> {
    seen.keks
        .iter()
        .map(|k| {
            let version = k.version.clone().unwrap_or_default();
            (vec![("kek", k.kek.clone()), ("version", version)], of(k))
        })
        .collect()
}
