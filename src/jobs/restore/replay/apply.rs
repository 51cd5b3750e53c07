//! One batch of relay logs, applied by a temporary server.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{OpenOptionsExt as _, chown},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use secrecy::SecretString;
use serde::Serialize;
use zeroize::Zeroizing;

use super::Batch;
use crate::{
    crypto,
    jobs::{
        JobError,
        scratch::Scratch,
        temp_server::{Access, Program, Running, Start, work_buffer_pool},
    },
    model::{Flavor, GtidSet, ServerFacts},
    mysql::{
        ApplierState, Server,
        replication::{EventChangeKind, RELAY_BASE, relay_name},
    },
    pipeline::{PipelineError, Progress},
};

/// How often the applier is asked how far it is.
const LOOK: Duration = Duration::from_millis(200);
/// How often the transactions are counted meanwhile.
const COUNT: Duration = Duration::from_secs(1);
/// Threads of the applier at most.
const MAX_THREADS: usize = 16;

/// What was applied.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Replayed {
    /// Transactions.
    pub transactions: u64,
    /// Bytes of relay logs.
    pub bytes: u64,
    /// Starts of a temporary server.
    pub batches: u32,
    /// Seconds that it took, fetching included.
    pub seconds: f64,
    /// Temporary tables that replicated sessions had open at the end.
    pub open_temporary_tables: u64,
}

/// Applies batches to a data directory.
pub(in crate::jobs::restore) struct Applier<'a> {
    pub(in crate::jobs::restore) program: &'a Program,
    pub(in crate::jobs::restore) datadir: &'a Path,
    /// Where batches are put together: on the same file system.
    pub(in crate::jobs::restore) work: PathBuf,
    pub(in crate::jobs::restore) facts: &'a ServerFacts,
    /// What the base has; it is set before the first batch.
    pub(in crate::jobs::restore) base: Option<GtidSet>,
    /// Which events of the event scheduler are enabled.
    pub(in crate::jobs::restore) events: BTreeMap<(String, String), bool>,
    pub(in crate::jobs::restore) owner: Option<(u32, u32)>,
    pub(in crate::jobs::restore) user: Option<String>,
    pub(in crate::jobs::restore) progress: &'a Progress,
}

impl Applier<'_> {
    pub(super) fn folder(&self) -> &Path {
        &self.work
    }

    /// Applies one batch, and holds what was applied against what was to be.
    pub(super) async fn apply(
        &mut self,
        batch: &Batch,
        replayed: &mut Replayed,
    ) -> Result<(), JobError> {
        self.place(batch)?;
        let account = Account::new(self.owner)?;
        let start = Start {
            access: Access::Account {
                user: &account.user,
                password: &account.password,
                init_file: &account.init_file,
            },
            avoid: &batch.servers,
            extra: &self.arguments(),
            buffer_pool: work_buffer_pool(),
            owner: self.owner,
            user: self.user.as_deref(),
        };
        let running =
            Running::start(self.program, self.datadir, self.facts, &start, self.progress).await?;
        let mut server = running.connect().await?;
        if let Some(base) = self.base.take() {
            server.set_executed(&base).await?;
        }
        let before = server.executed_set().await?.count();
        if replayed.batches == 0 {
            for event in server.scheduled_events().await? {
                self.events.extend(event.enabled.map(|enabled| (event.event, enabled)));
            }
        }
        server.start_applier().await?;
        let state = self.consume(&mut server, batch, replayed, before).await?;
        let applied = applied(&mut server, &state, before).await?;
        if applied != batch.transactions {
            return Err(JobError::integrity(
                format!(
                    "{applied} transactions were applied, and there are {} in the batch",
                    batch.transactions
                ),
                "do not use this data directory; restore anew, and report this",
            ));
        }
        replayed.open_temporary_tables = server.open_temporary_tables().await?;
        server.forget_applier().await?;
        self.put_events_back(&mut server, batch).await?;
        server.drop_account(&account.user).await?;
        server.close().await;
        running.shutdown().await?;
        self.clear()?;
        replayed.transactions += applied;
        replayed.bytes += batch.bytes();
        replayed.batches += 1;
        self.progress.replayed(replayed.transactions, replayed.bytes);
        tracing::info!(
            transactions = replayed.transactions,
            bytes = replayed.bytes,
            "a batch is applied"
        );
        Ok(())
    }

    /// Gives the events that the applier disabled the status that the statements left them in.
    async fn put_events_back(
        &mut self,
        server: &mut Server,
        batch: &Batch,
    ) -> Result<(), JobError> {
        for change in &batch.events {
            let before = match change.kind {
                EventChangeKind::Created => None,
                _ => self.events.remove(&change.event),
            };
            let enabled = match (change.kind, before) {
                (EventChangeKind::Dropped, _) => continue,
                (EventChangeKind::CreatedUnlessThere, Some(before)) => before,
                _ => change.enabled.or(before).unwrap_or(true),
            };
            let name = change.renamed.as_ref().unwrap_or(&change.event);
            self.events.insert(name.clone(), enabled);
        }
        let events = server.scheduled_events().await?;
        for event in events.iter().filter(|event| event.enabled.is_none()) {
            // What a base from a replica has disabled stays so.
            if let Some(enabled) = self.events.get(&event.event) {
                server.set_event(event, *enabled).await?;
            }
        }
        Ok(())
    }

    /// Waits until all relay logs of the batch are consumed.
    async fn consume(
        &self,
        server: &mut Server,
        batch: &Batch,
        replayed: &Replayed,
        before: u64,
    ) -> Result<ApplierState, JobError> {
        let last = u32::try_from(batch.sizes.len()).unwrap_or(u32::MAX);
        let end = (relay_name(last), batch.sizes.last().copied().unwrap_or_default());
        let mut counted = Instant::now();
        loop {
            if self.progress.is_stopped() {
                return Err(PipelineError::Stopped.into());
            }
            let state = server.applier_state().await?;
            if state.error.0 != 0 {
                return Err(stopped(&state));
            }
            let file = state.relay.0.trim_start_matches("./");
            // MariaDB begins a relay log of its own behind the last one. Names have one length.
            let past = file.len() == end.0.len() && file > end.0.as_str();
            if past || (file == end.0 && state.relay.1 >= end.1) {
                return Ok(state);
            }
            if !state.running {
                return Err(stopped(&state));
            }
            if counted.elapsed() >= COUNT {
                counted = Instant::now();
                let transactions = applied(server, &state, before).await?;
                let bytes = batch.bytes_before(file) + state.relay.1;
                let (passed, size) = (replayed.transactions, replayed.bytes);
                self.progress.replayed(passed + transactions, size + bytes);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Moves the relay logs to where the server looks for them.
    fn place(&self, batch: &Batch) -> Result<(), JobError> {
        let mut index = String::new();
        for number in 1..=u32::try_from(batch.sizes.len()).unwrap_or(u32::MAX) {
            let name = relay_name(number);
            let (from, to) = (batch.folder.join(&name), self.datadir.join(&name));
            fs::rename(&from, &to).map_err(JobError::io("move into the data directory", &from))?;
            self.give(&to)?;
            index.push_str("./");
            index.push_str(&name);
            index.push('\n');
        }
        let path = self.datadir.join(format!("{RELAY_BASE}.index"));
        fs::write(&path, index).map_err(JobError::io("write", &path))?;
        self.give(&path)?;
        fs::remove_dir(&batch.folder).map_err(JobError::io("remove", &batch.folder))
    }

    fn give(&self, path: &Path) -> Result<(), JobError> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        chown(path, Some(uid), Some(gid)).map_err(JobError::io("give away", path))
    }

    /// Takes away what the applier has left.
    fn clear(&self) -> Result<(), JobError> {
        let entries = fs::read_dir(self.datadir).map_err(JobError::io("list", self.datadir))?;
        for entry in entries {
            let entry = entry.map_err(JobError::io("list", self.datadir))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let relay =
                name.strip_prefix(RELAY_BASE).is_some_and(|rest| rest.starts_with(['.', '-']));
            if relay {
                fs::remove_file(entry.path()).map_err(JobError::io("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// Durability is off: whoever is killed meanwhile starts over from the base.
    fn arguments(&self) -> Vec<String> {
        let threads = std::thread::available_parallelism().map_or(4, std::num::NonZero::get);
        let threads = threads.saturating_mul(2).clamp(4, MAX_THREADS);
        let mut arguments = vec![
            format!("--relay-log={RELAY_BASE}"),
            "--relay-log-recovery=OFF".into(),
            "--innodb-flush-log-at-trx-commit=0".into(),
            "--innodb-doublewrite=OFF".into(),
        ];
        match self.facts.flavor {
            Flavor::Mysql => arguments.extend([
                "--gtid-mode=ON".into(),
                "--enforce-gtid-consistency=ON".into(),
                "--persisted-globals-load=OFF".into(),
                format!("--replica-parallel-workers={threads}"),
                "--replica-preserve-commit-order=OFF".into(),
                "--log-error-verbosity=1".into(),
            ]),
            Flavor::Mariadb => arguments.extend([
                format!("--slave-parallel-threads={threads}"),
                "--slave-parallel-mode=optimistic".into(),
                "--gtid-strict-mode=OFF".into(),
            ]),
        }
        arguments
    }
}

/// Transactions that the applier has applied. MySQL does not count them: it had `before` when the
/// applier began.
async fn applied(server: &mut Server, state: &ApplierState, before: u64) -> Result<u64, JobError> {
    match server.flavor() {
        Flavor::Mysql => Ok(server.executed_set().await?.count().saturating_sub(before)),
        Flavor::Mariadb => Ok(state.groups.unwrap_or_default()),
    }
}

fn stopped(state: &ApplierState) -> JobError {
    let (number, words) = &state.error;
    let hint = match number {
        // ER_NO_SUCH_TABLE, ER_BAD_TABLE_ERROR.
        1146 | 1051 => {
            "if it is a temporary table, the base was taken within the session that made it: restore from an older base with --backup"
        }
        // ER_KEY_NOT_FOUND, ER_DUP_ENTRY.
        1032 | 1062 => {
            "with --skip-gtid, a later transaction needs one that was left out; without it, the base is not what it should be: try an older --backup"
        }
        _ => {
            "do not use this data directory; restore to an earlier point, or from another --backup"
        }
    };
    let at = format!("{}:{}", state.relay.0, state.relay.1);
    JobError::integrity(
        match number {
            0 => format!("the applier ended at {at} without a word"),
            _ => format!("the applier stopped at {at} with error {number}: {words}"),
        },
        hint,
    )
}

/// An account for as long as a batch takes.
struct Account {
    user: String,
    password: SecretString,
    init_file: PathBuf,
    _folder: Scratch,
}

impl Account {
    fn new(owner: Option<(u32, u32)>) -> Result<Self, JobError> {
        use std::io::Write as _;
        let folder = Scratch::new(None)?;
        let random: [u8; 20] = crypto::random().map_err(PipelineError::from)?;
        let user = format!("backstay_{}", hex::encode(&random[..6]));
        // Whatever a password policy wants.
        let password = Zeroizing::new(format!("Aa1-{}", hex::encode(&random[6..])));
        let init_file = folder.path().join("init.sql");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&init_file)
            .map_err(JobError::io("create", &init_file))?;
        let sql = Zeroizing::new(format!(
            "CREATE USER '{user}'@'localhost' IDENTIFIED BY '{}';\nGRANT ALL ON *.* TO '{user}'@'localhost';\n",
            *password
        ));
        file.write_all(sql.as_bytes()).map_err(JobError::io("write", &init_file))?;
        if let Some((uid, gid)) = owner {
            for path in [folder.path(), init_file.as_path()] {
                chown(path, Some(uid), Some(gid)).map_err(JobError::io("give away", path))?;
            }
        }
        Ok(Self {
            user,
            password: SecretString::from(password.as_str()),
            init_file,
            _folder: folder,
        })
    }
}
