//! Runs a dump, and keeps what it yields.

use std::{collections::BTreeMap, time::Duration};

use backstay::mysql::{
    ConnectOptions, MysqlError,
    replication::{Captured, Dump, DumpRequest, EventEnd},
};

/// The first bytes of each binary log; the protocol leaves them out.
pub(crate) const MAGIC: &[u8] = b"\xfebin";

pub(crate) fn request(file: &str, offset: u64) -> DumpRequest {
    let heartbeat = Duration::from_secs(1);
    DumpRequest { file: file.to_owned(), offset, heartbeat, until_end: true }
}

/// What a dump brought.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    /// The bytes of each file from the first that was dumped; whole files begin with the magic.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// The events of each file, with their types.
    pub(crate) events: Vec<(String, u8, EventEnd)>,
    file: String,
    offset: u64,
    kind: u8,
    missing: u64,
}

impl Capture {
    /// Dumps until the server has no more.
    pub(crate) async fn until_end(
        options: &ConnectOptions,
        request: &DumpRequest,
    ) -> Result<Self, MysqlError> {
        let mut capture = Self::default();
        let mut dump = Dump::start(options, request).await?;
        loop {
            match dump.next().await? {
                Captured::Eof => return Ok(capture),
                captured => capture.take(captured),
            }
        }
    }

    /// How many event groups ended.
    pub(crate) fn groups(&self) -> usize {
        self.events.iter().filter(|(.., event)| event.group.is_some()).count()
    }

    /// Keeps one step, and checks that it fits to the one before.
    pub(crate) fn take(&mut self, captured: Captured) {
        match captured {
            Captured::File { name, offset } => {
                let magic = if offset == 4 { MAGIC } else { &[] };
                assert!(self.files.insert(name.clone(), magic.to_vec()).is_none(), "{name} again");
                (self.file, self.offset) = (name, offset);
            }
            Captured::Event { offset, length, kind } => {
                assert_eq!((offset, self.missing), (self.offset, 0));
                (self.missing, self.kind) = (length, kind);
            }
            Captured::Bytes(bytes) => {
                assert!(!bytes.is_empty() && bytes.len() <= 64 << 10);
                self.missing -= bytes.len() as u64;
                self.offset += bytes.len() as u64;
                self.files.get_mut(&self.file).unwrap().extend_from_slice(&bytes);
            }
            Captured::End(end) => {
                assert_eq!((end.end, self.missing), (self.offset, 0));
                self.events.push((self.file.clone(), self.kind, end));
            }
            Captured::Heartbeat { .. } => {}
            Captured::Eof => panic!("the dump ended"),
        }
    }
}
