//! `Transaction_payload` of MySQL: a whole transaction's events, compressed (MySQL sources,
//! `Transaction_payload_event`). They are unpacked as they come, in pieces.

use super::{
    super::{fields::Fields, header::HEADER},
    tally::Tally,
    unpack::{OUT, Unpack},
};

/// Bytes of the event's own fields at most; there are four small ones.
const FIELDS: usize = 256;

#[derive(Debug)]
pub(super) struct Payload {
    /// The event's own fields, until they are whole.
    fields: Vec<u8>,
    unpack: Option<Unpack>,
    /// The header of the next event inside.
    header: Vec<u8>,
    /// Bytes that are missing of the event inside.
    left: Option<u64>,
}

impl Payload {
    pub(super) fn new() -> Self {
        Self { fields: Vec::new(), unpack: None, header: Vec::new(), left: None }
    }

    pub(super) fn feed(&mut self, mut input: &[u8], tally: &mut Tally) -> Result<(), String> {
        if self.unpack.is_none() {
            let known = self.fields.len();
            self.fields.extend_from_slice(&input[..input.len().min(FIELDS)]);
            match fields(&self.fields) {
                Some((unpack, length)) => {
                    self.unpack = Some(unpack?);
                    input = input.get(length.saturating_sub(known)..).unwrap_or_default();
                }
                None if self.fields.len() >= FIELDS => return Err(garbled()),
                None => return Ok(()),
            }
        }
        let Some(mut unpack) = self.unpack.take() else { return Ok(()) };
        let mut out = [0; OUT];
        loop {
            match unpack.run(&mut input, &mut out)? {
                0 => break,
                count => self.events(&out[..count], tally)?,
            }
        }
        self.unpack = Some(unpack);
        Ok(())
    }

    /// Events without checksums, one behind the other.
    fn events(&mut self, mut input: &[u8], tally: &mut Tally) -> Result<(), String> {
        while !input.is_empty() {
            if let Some(left) = self.left {
                let now = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                tally.bytes(&input[..now])?;
                input = &input[now..];
                self.gone_on(left - now as u64, tally)?;
                continue;
            }
            let now = (HEADER - self.header.len()).min(input.len());
            self.header.extend_from_slice(&input[..now]);
            input = &input[now..];
            if self.header.len() == HEADER {
                let mut fields = Fields(&self.header[4..]);
                let (kind, _server, length) = (fields.u8(), fields.u32(), fields.u32());
                let (Some(kind), Some(length)) = (kind, length) else { return Err(garbled()) };
                let body = u64::from(length).checked_sub(HEADER as u64).ok_or_else(garbled)?;
                self.header.clear();
                tally.begin_inner(kind)?;
                self.gone_on(body, tally)?;
            }
        }
        Ok(())
    }

    fn gone_on(&mut self, left: u64, tally: &mut Tally) -> Result<(), String> {
        self.left = (left > 0).then_some(left);
        if left == 0 { tally.end() } else { Ok(()) }
    }

    /// Whether it came whole.
    pub(super) fn end(&self) -> Result<(), String> {
        let whole = self.unpack.is_some() && self.left.is_none() && self.header.is_empty();
        if whole { Ok(()) } else { Err(garbled()) }
    }
}

fn garbled() -> String {
    "a compressed transaction is malformed".to_owned()
}

/// Type, length and value of fields up to an end mark; what unpacks, and the bytes that they take.
fn fields(bytes: &[u8]) -> Option<(Result<Unpack, String>, usize)> {
    let mut fields = Fields(bytes);
    let mut compression = 0;
    loop {
        match fields.length_encoded()? {
            0 => break,
            kind => {
                let length = usize::try_from(fields.length_encoded()?).ok()?;
                let value = fields.bytes(length)?;
                if kind == 2 {
                    compression = Fields(value).length_encoded()?;
                }
            }
        }
    }
    let unpack = match compression {
        0 => Unpack::zstd(),
        // 255 is written as a number of two bytes.
        255 => Ok(Unpack::Plain),
        other => Err(format!("a transaction is compressed in a way that we do not know ({other})")),
    };
    Some((unpack, bytes.len() - fields.0.len()))
}
