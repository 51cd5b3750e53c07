//! Events that a server makes up for its replicas: they are in none of its files.

use super::{
    super::{
        super::MysqlError,
        captured::Captured,
        header::{CHECKSUM, FORMAT_DESCRIPTION, HEADER, HEARTBEAT, HEARTBEAT_V2, ROTATE},
        meaning,
    },
    Event, Events,
};

impl Events {
    pub(super) fn made_up(&mut self, mut event: Event) -> Result<(), MysqlError> {
        match event.header.kind {
            ROTATE => self.other_file(&event.kept),
            FORMAT_DESCRIPTION => {
                self.checksums = Some(self.format(&mut event.kept, false)?.checksums);
                Ok(())
            }
            HEARTBEAT => {
                let body = self.body_of_made_up(&event.kept)?;
                let file = meaning::file_name(body)
                    .ok_or_else(|| self.damaged("a heartbeat that names no file"))?;
                let position = u64::from(event.header.end);
                self.ready.push_back(Captured::Heartbeat { file, position });
                Ok(())
            }
            HEARTBEAT_V2 => {
                let body = self.body_of_made_up(&event.kept)?;
                let (file, position) = meaning::heartbeat(body)
                    .ok_or_else(|| self.damaged("a heartbeat that names no position"))?;
                self.ready.push_back(Captured::Heartbeat { file, position });
                Ok(())
            }
            _ if self.checksums == Some(false) || event.holds() => Ok(()),
            _ => Err(self.garbled()),
        }
    }

    fn garbled(&self) -> MysqlError {
        self.damaged("what the server said between two events does not match its CRC32")
    }

    /// The server says which file it sends from now on, before its format description tells
    /// whether there are checksums. But the name is known: we asked for the first, and the last
    /// event of each file names the next, unless its server crashed.
    fn other_file(&mut self, event: &[u8]) -> Result<(), MysqlError> {
        let wrong =
            |events: &Self| events.damaged("the server goes on with a file that it cannot name");
        let candidates = [event.len(), event.len().saturating_sub(CHECKSUM)];
        let mut named = candidates.iter().filter_map(|&end| {
            let (offset, name) = meaning::rotation(event.get(HEADER..end)?)?;
            Some((offset, name))
        });
        let (offset, name) = if self.unconfirmed {
            named.find(|(offset, name)| *name == self.file && *offset == self.offset)
        } else if let Some(next) = &self.next {
            named.find(|(offset, name)| name == next && *offset == 4)
        } else {
            let body = self.body_of_made_up(event)?;
            meaning::rotation(body)
        }
        .ok_or_else(|| wrong(self))?;
        self.unconfirmed = false;
        self.next = None;
        self.offset = offset;
        self.ready.push_back(Captured::File { name: name.clone(), offset });
        self.file = name;
        Ok(())
    }

    /// What stands between header and checksum. A made-up event has one when the events of the
    /// file have, or when replicas are promised some; so one that matches is one.
    fn body_of_made_up<'a>(&self, event: &'a [u8]) -> Result<&'a [u8], MysqlError> {
        let (text, sum) = event.split_at(event.len().saturating_sub(CHECKSUM));
        if text.len() >= HEADER && crc32fast::hash(text).to_le_bytes() == sum {
            return Ok(&text[HEADER..]);
        }
        if self.checksums == Some(true) {
            return Err(self.garbled());
        }
        Ok(&event[HEADER..])
    }
}
