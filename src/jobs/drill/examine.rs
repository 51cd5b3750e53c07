//! The recovered server is looked at: its tables, and what somebody wants to be true of its data.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::assertions::{self, Assertion, Assertions, Statement};
use crate::{
    format::AssertionOutcome,
    jobs::{
        JobError,
        restore::{Owner, seconds_since},
        temp_server::{Access, Program, Running, Start, work_buffer_pool},
    },
    model::{Flavor, ServerFacts, Sha256Digest, Timestamp},
    mysql::{Answer, CheckDepth, Server, TableName, TableVerdict},
    pipeline::{PipelineError, Progress},
};

/// Tables that are checked at once.
const PARALLEL: usize = 4;

/// A table that was not found to be whole.
#[derive(Debug, Clone, Serialize)]
pub struct TableProblem {
    /// `schema.table`.
    pub table: String,
    /// In the words of the server.
    pub why: String,
}

/// What `CHECK TABLE` has found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tables {
    /// How closely it looked: `quick`, `medium` or `extended`.
    pub depth: &'static str,
    /// Tables that are whole.
    pub whole: u64,
    /// Tables that are damaged, or cannot be read.
    pub damaged: Vec<TableProblem>,
    /// Tables whose engine cannot check them.
    pub unchecked: Vec<TableProblem>,
    /// How long it took.
    pub seconds: f64,
}

/// What became of the assertions.
#[derive(Debug, Clone, Serialize)]
pub struct Asserted {
    /// SHA-256 of the file.
    pub file_sha256: Sha256Digest,
    /// How many hold.
    pub hold: u64,
    /// Each of them, in the order of the file.
    pub results: Vec<AssertionResult>,
    /// How long it took.
    pub seconds: f64,
}

/// What became of one assertion.
#[derive(Debug, Clone, Serialize)]
pub struct AssertionResult {
    /// Its name.
    pub name: String,
    /// The line of the file that it begins in.
    pub line: usize,
    /// `holds`, `false`, or `error` when there was no answer that could be judged.
    pub status: AssertionOutcome,
    /// Why it does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The row that was answered.
    pub values: Vec<AnsweredValue>,
    /// How long it took.
    pub seconds: f64,
}

/// One column of an answer.
#[derive(Debug, Clone, Serialize)]
pub struct AnsweredValue {
    /// Its name.
    pub column: String,
    /// Its value; nothing for NULL.
    pub value: Option<String>,
}

/// What is needed to look.
pub(super) struct Look<'a> {
    pub(super) program: &'a Program,
    pub(super) facts: &'a ServerFacts,
    pub(super) datadir: &'a Path,
    /// A folder for the server's temporary files, on the same disk as the data.
    pub(super) work: &'a Path,
    pub(super) owner: &'a Owner,
    pub(super) depth: Option<CheckDepth>,
    pub(super) assertions: Option<&'a Assertions>,
    /// How long one assertion may take.
    pub(super) limit: Duration,
    /// The instant that was recovered, where it is known.
    pub(super) target_time: Option<Timestamp>,
    pub(super) progress: &'a Progress,
}

/// What was seen.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) tables: Option<Tables>,
    pub(super) assertions: Option<Asserted>,
}

impl Look<'_> {
    /// Starts a server over the recovered data, looks, and ends it.
    pub(super) async fn run(&self) -> Result<Seen, JobError> {
        let running = self.start().await?;
        let mut seen = Seen::default();
        if let Some(depth) = self.depth {
            seen.tables = Some(self.check(&running, depth).await?);
        }
        if let Some(assertions) = self.assertions {
            seen.assertions = Some(self.ask_all(&running, assertions).await?);
        }
        if running.is_running() {
            running.shutdown().await?;
        }
        Ok(seen)
    }

    /// It has no accounts, so it loads neither plugins nor functions that the source had
    /// installed: nothing of it can reach another machine. Files it sees in one empty folder.
    async fn start(&self) -> Result<Running, JobError> {
        let (temporary, nothing) = (self.work.join("tmp"), self.work.join("nothing"));
        for folder in [&temporary, &nothing] {
            std::fs::create_dir(folder).map_err(JobError::io("create", folder))?;
        }
        self.owner.give(self.work)?;
        let mut extra = vec![
            format!("--tmpdir={}", temporary.display()),
            format!("--secure-file-priv={}", nothing.display()),
        ];
        if self.facts.flavor == Flavor::Mysql {
            extra.extend(["--persisted-globals-load=OFF".into(), "--log-error-verbosity=1".into()]);
        }
        let start = Start {
            access: Access::Anybody,
            buffer_pool: work_buffer_pool(),
            ..Start::to_ask(&extra, self.owner.ids(), self.owner.user())
        };
        Running::start(self.program, self.datadir, self.facts, &start, self.progress).await
    }

    /// `CHECK TABLE` over all tables, several at once.
    async fn check(&self, running: &Running, depth: CheckDepth) -> Result<Tables, JobError> {
        let begun = Instant::now();
        let mut server = running.connect().await?;
        let tables = server.user_tables().await?;
        server.close().await;
        self.progress.expect_items("tables", tables.len() as u64);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let queue = Queue {
            tables: Mutex::new(tables.into_iter()),
            found: Mutex::new(Tables { depth: word(depth), ..Tables::default() }),
        };
        let workers = (0..cores.min(PARALLEL)).map(|_| self.worker(running, depth, &queue));
        futures::future::try_join_all(workers).await?;
        while let Some(table) = queue.next() {
            queue.note(&table, TableVerdict::Unchecked("the server had died before".into()));
        }
        let mut found = queue.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.damaged.sort_by(|a, b| a.table.cmp(&b.table));
        found.unchecked.sort_by(|a, b| a.table.cmp(&b.table));
        found.seconds = seconds_since(begun);
        Ok(found)
    }

    async fn worker(
        &self,
        running: &Running,
        depth: CheckDepth,
        queue: &Queue,
    ) -> Result<(), JobError> {
        let mut server = None;
        while running.is_running()
            && let Some(table) = queue.next()
        {
            let verdict = tokio::select! {
                verdict = check_one(running, &mut server, &table, depth) => verdict,
                () = self.progress.stopped() => return Err(PipelineError::Stopped.into()),
            };
            queue.note(&table, verdict);
            self.progress.add_item();
        }
        if let Some(server) = server {
            server.close().await;
        }
        Ok(())
    }

    /// Asks every question, one after another.
    async fn ask_all(
        &self,
        running: &Running,
        assertions: &Assertions,
    ) -> Result<Asserted, JobError> {
        let begun = Instant::now();
        let all = assertions.statements.iter();
        let count =
            all.clone().filter(|statement| matches!(statement, Statement::Assert(_))).count();
        self.progress.expect_items("assertions", count as u64);
        let (mut session, mut schema) = (None, None);
        let mut results = Vec::new();
        for statement in all {
            match statement {
                // It takes effect with the next question, in whatever session that is asked.
                Statement::Use(name) => {
                    schema = Some(name.as_str());
                    session = None;
                }
                Statement::Assert(assertion) => {
                    results.push(tokio::select! {
                        result = self.ask(running, &mut session, schema, assertion) => result,
                        () = self.progress.stopped() => return Err(PipelineError::Stopped.into()),
                    });
                    self.progress.add_item();
                }
            }
        }
        let hold = results.iter().filter(|result| result.status == AssertionOutcome::Holds);
        Ok(Asserted {
            file_sha256: assertions.file_sha256,
            hold: hold.count() as u64,
            results,
            seconds: seconds_since(begun),
        })
    }

    async fn ask(
        &self,
        running: &Running,
        session: &mut Option<Server>,
        schema: Option<&str>,
        assertion: &Assertion,
    ) -> AssertionResult {
        let begun = Instant::now();
        let answered = self.answer(running, session, schema, assertion).await;
        let (status, why, values) = match &answered {
            Ok(rows) => {
                let (status, why) = assertions::judge(rows);
                (status, why, rows.first().map(Vec::as_slice).unwrap_or_default())
            }
            Err(error) => {
                // Whatever state it is in, the next question gets another.
                *session = None;
                (AssertionOutcome::Error, Some(error.to_string()), &[][..])
            }
        };
        let value = |answer: &Answer| AnsweredValue {
            column: answer.column.clone(),
            value: answer.value.clone(),
        };
        AssertionResult {
            name: assertion.name.clone(),
            line: assertion.line,
            status,
            why,
            values: values.iter().map(value).collect(),
            seconds: seconds_since(begun),
        }
    }

    async fn answer(
        &self,
        running: &Running,
        session: &mut Option<Server>,
        schema: Option<&str>,
        assertion: &Assertion,
    ) -> Result<Vec<Vec<Answer>>, JobError> {
        let server = match session {
            Some(server) => server,
            none => {
                let mut server = running.connect().await?;
                server.prepare_to_ask(self.limit, self.target_time).await?;
                if let Some(schema) = schema {
                    server.use_schema(schema).await?;
                }
                none.insert(server)
            }
        };
        let doing = format!("asking line {}", assertion.line);
        Ok(server.ask(&doing, &assertion.sql, self.limit).await?)
    }
}

/// The tables that are left, and what was found.
struct Queue {
    tables: Mutex<std::vec::IntoIter<TableName>>,
    found: Mutex<Tables>,
}

impl Queue {
    fn next(&self) -> Option<TableName> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    fn note(&self, table: &TableName, verdict: TableVerdict) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let problem = |why| TableProblem { table: table.to_string(), why };
        match verdict {
            TableVerdict::Whole => found.whole += 1,
            TableVerdict::Damaged(why) => found.damaged.push(problem(why)),
            TableVerdict::Unchecked(why) => found.unchecked.push(problem(why)),
        }
    }
}

/// A server that dies of a table says more of it than any verdict.
async fn check_one(
    running: &Running,
    server: &mut Option<Server>,
    table: &TableName,
    depth: CheckDepth,
) -> TableVerdict {
    match checked(running, server, table, depth).await {
        Ok(verdict) => verdict,
        Err(error) => {
            *server = None;
            let died = if running.is_running() { "" } else { "; the server has died" };
            TableVerdict::Damaged(format!("{error}{died}"))
        }
    }
}

async fn checked(
    running: &Running,
    server: &mut Option<Server>,
    table: &TableName,
    depth: CheckDepth,
) -> Result<TableVerdict, JobError> {
    let server = match server {
        Some(server) => server,
        none => none.insert(running.connect().await?),
    };
    Ok(server.check_table(table, depth).await?)
}

fn word(depth: CheckDepth) -> &'static str {
    match depth {
        CheckDepth::Quick => "quick",
        CheckDepth::Medium => "medium",
        CheckDepth::Extended => "extended",
    }
}
