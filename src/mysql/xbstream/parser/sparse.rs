//! Percona's sparse chunks: a map of holes and bytes before the payload.

use super::{
    super::chunk::{MAX_SPARSE, normal, u32_at, u64_at},
    Parser, Sink, State, XbstreamError,
};

impl Parser {
    pub(super) fn sparse(&mut self, at: usize, sink: &mut impl Sink) -> Result<(), XbstreamError> {
        let (entries, length) = (u32_at(&self.head, at), u64_at(&self.head, at + 4));
        let (offset, crc) = (u64_at(&self.head, at + 12), u32_at(&self.head, at + 20));
        if entries > MAX_SPARSE {
            return Err(self.wrong(format!("a sparse map of {entries} entries")));
        }
        let told = sink.begin(normal(&self.path), offset, false);
        self.carry(told, length, offset)?;
        self.head.clear();
        if entries == 0 {
            return self.map_done(length, crc, sink);
        }
        self.state = State::Map { entries, length, crc };
        Ok(())
    }

    pub(super) fn map_entry(
        &mut self,
        entries: u32,
        length: u64,
        crc: u32,
        sink: &mut impl Sink,
    ) -> Result<(), XbstreamError> {
        self.crc.update(&self.head);
        self.runs.push(u32_at(&self.head, 0), u32_at(&self.head, 4));
        self.head.clear();
        if entries > 1 {
            self.state = State::Map { entries: entries - 1, length, crc };
            return Ok(());
        }
        self.map_done(length, crc, sink)
    }

    fn map_done(
        &mut self,
        length: u64,
        crc: u32,
        sink: &mut impl Sink,
    ) -> Result<(), XbstreamError> {
        let mapped = self.runs.close();
        if mapped != length {
            return Err(self.wrong(format!("its map covers {mapped} of {length} bytes")));
        }
        self.payload(length, crc, true, sink)
    }
}
