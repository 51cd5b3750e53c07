//! Unpacking what servers compressed, piece by piece: no more is held than a piece and the
//! decompressor's window.

use zstd::stream::raw::{Decoder, Operation as _};

/// Bytes that are unpacked at once.
pub(super) const OUT: usize = 16 << 10;

/// The largest window of a compressed transaction, as a power of two: that of `zstd`'s highest level.
const WINDOW: u32 = 27;

pub(super) enum Unpack {
    Zlib(Box<flate2::Decompress>),
    Zstd(Box<Decoder<'static>>),
    Plain,
}

impl std::fmt::Debug for Unpack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Zlib(_) => "zlib",
            Self::Zstd(_) => "zstd",
            Self::Plain => "plain",
        })
    }
}

impl Unpack {
    pub(super) fn zlib() -> Self {
        Self::Zlib(Box::new(flate2::Decompress::new(true)))
    }

    pub(super) fn zstd() -> Result<Self, String> {
        let mut decoder = Decoder::new().map_err(|e| e.to_string())?;
        let window = zstd::zstd_safe::DParameter::WindowLogMax(WINDOW);
        decoder.set_parameter(window).map_err(|e| e.to_string())?;
        Ok(Self::Zstd(Box::new(decoder)))
    }

    /// Takes input until there is output, and says how much; nothing when the input is used up.
    pub(super) fn run(&mut self, input: &mut &[u8], out: &mut [u8]) -> Result<usize, String> {
        loop {
            let (taken, made, ended) = match self {
                Self::Zlib(state) => {
                    let (read, written) = (state.total_in(), state.total_out());
                    let status = state
                        .decompress(input, out, flate2::FlushDecompress::None)
                        .map_err(|e| e.to_string())?;
                    let taken = usize::try_from(state.total_in() - read).unwrap_or(usize::MAX);
                    let made = usize::try_from(state.total_out() - written).unwrap_or(usize::MAX);
                    (taken, made, status == flate2::Status::StreamEnd)
                }
                Self::Zstd(state) => {
                    let status = state.run_on_buffers(input, out).map_err(|e| e.to_string())?;
                    (status.bytes_read, status.bytes_written, false)
                }
                Self::Plain => {
                    let count = input.len().min(out.len());
                    out[..count].copy_from_slice(&input[..count]);
                    (count, count, false)
                }
            };
            *input = input.get(taken..).unwrap_or_default();
            if made > 0 || ended || taken == 0 {
                return Ok(made);
            }
        }
    }
}
