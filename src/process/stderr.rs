//! A child's standard error: into the log as it comes, and its end into memory.

use std::{
    collections::VecDeque,
    fs::File,
    io::Read,
    sync::{Arc, Mutex, PoisonError},
};

/// Lines that are kept.
const KEPT_LINES: usize = 50;
/// Bytes of a line that are kept; the rest of the line is dropped.
const KEPT_BYTES: usize = 2000;

/// The last lines, shared between the thread that reads and whoever asks.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// Reads to the end of the pipe. Never stops before it: a child whose standard
/// error is not read blocks.
pub(super) fn follow(name: &'static str, mut pipe: File, tail: &Tail) {
    let mut lines = Lines { name, tail, line: Vec::new(), cut: false };
    let mut buffer = vec![0; 16 << 10];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => lines.feed(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => {
                tracing::warn!(target: "engine", engine = name, "reading its standard error: {e}");
                break;
            }
        }
    }
    lines.end();
}

struct Lines<'a> {
    name: &'static str,
    tail: &'a Tail,
    line: Vec<u8>,
    cut: bool,
}

impl Lines<'_> {
    fn feed(&mut self, mut bytes: &[u8]) {
        // A carriage return ends a line too: progress meters rewrite theirs.
        while let Some(at) = bytes.iter().position(|&b| b == b'\n' || b == b'\r') {
            self.take(&bytes[..at]);
            self.end();
            bytes = &bytes[at + 1..];
        }
        self.take(bytes);
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES - self.line.len().min(KEPT_BYTES);
        self.cut |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end(&mut self) {
        if self.line.is_empty() {
            return;
        }
        let mut text = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        if self.cut {
            text.push_str(" …");
        }
        report(self.name, &text);
        self.tail.push(text);
        self.line.clear();
        self.cut = false;
    }
}

/// MySQL and its relatives mark severity as `[ERROR]`, `[Warning]`, `[Note]`.
fn report(engine: &'static str, line: &str) {
    let lower = line.to_ascii_lowercase();
    // A server's own label goes before its words: a warning may quote an error.
    if lower.contains("[warning]") {
        tracing::warn!(target: "engine", engine, "{line}");
    } else if lower.contains("[error]") || lower.contains("error:") {
        tracing::error!(target: "engine", engine, "{line}");
    } else if lower.contains("warning:") {
        tracing::warn!(target: "engine", engine, "{line}");
    } else {
        tracing::info!(target: "engine", engine, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail_of(pieces: &[&[u8]]) -> Vec<String> {
        let tail = Tail::default();
        let mut lines = Lines { name: "t", tail: &tail, line: Vec::new(), cut: false };
        for piece in pieces {
            lines.feed(piece);
        }
        lines.end();
        tail.lines()
    }

    #[test]
    fn lines_are_joined_over_reads_and_need_no_last_newline() {
        assert_eq!(tail_of(&[b"on", b"e\ntw", b"o\r\n\nlast"]), ["one", "two", "last"]);
    }

    #[test]
    fn the_tail_is_bounded_in_lines_and_bytes() {
        let many = (0..200).map(|n| format!("line {n}")).collect::<Vec<_>>().join(
            "
",
        );
        let kept = tail_of(&[many.as_bytes()]);
        assert_eq!((kept.len(), kept[0].as_str(), kept[49].as_str()), (50, "line 150", "line 199"));
        let long = tail_of(&[&[b'x'; 1500], &[b'x'; 1500], b"\nshort"]);
        assert_eq!(long[0].len(), KEPT_BYTES + " …".len());
        assert_eq!(long[1], "short");
    }

    #[test]
    fn bytes_that_are_no_text_are_kept_as_far_as_possible() {
        assert_eq!(tail_of(&[b"caf\xe9\n"]), ["caf\u{fffd}"]);
    }
}
