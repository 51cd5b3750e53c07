//! Numbers and texts, one after another, out of bytes that may end too soon.

/// What is not yet read. Every method fails with nothing when there is not enough left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Up to eight bytes, the lowest first.
    pub(super) fn uint(&mut self, count: usize) -> Option<u64> {
        let mut whole = [0; 8];
        whole.get_mut(..count)?.copy_from_slice(self.bytes(count)?);
        Some(u64::from_le_bytes(whole))
    }

    /// A length-encoded integer (MySQL internals, "Integer Types").
    pub(super) fn length_encoded(&mut self) -> Option<u64> {
        match self.u8()? {
            0xfc => self.uint(2),
            0xfd => self.uint(3),
            0xfe => self.u64(),
            0xfb | 0xff => None,
            small => Some(u64::from(small)),
        }
    }

    /// What stands before the next zero byte, which is skipped; all of it when there is none.
    pub(super) fn until_nul(&mut self) -> &'a [u8] {
        let at = self.0.iter().position(|&b| b == 0);
        let (taken, rest) = match at {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (self.0, &[][..]),
        };
        self.0 = rest;
        taken
    }
}

/// Bytes that should be text, for people.
pub(super) fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
